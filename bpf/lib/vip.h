/* Which VIP a packet is for. */
#ifndef XDPLB_VIP_H
#define XDPLB_VIP_H

#include "hash.h"
#include "maps.h"
#include "parse.h"

#define VIP_KEY_BITS                                                                                         \
	0x00ffffffffffffffULL /* of an entry's first word: address, port, protocol; the rest is flags */
#define VIP_GROUP_SHIFT (64 - __builtin_ctz(VIP_GROUPS))

/* A fragment has no ports: its key, with port and protocol 0, is there for each address that has VIPs. */
static __always_inline __u64 vip_key(const struct packet *packet)
{
	__u64 key = packet->destination;

	if (!packet->fragment)
		key |= (__u64)(packet->ports >> 16) << 32 | (__u64)packet->protocol << 48;
	return key;
}

static __always_inline const struct vip_entry *vip_find(__u64 key)
{
	__u32 zero = 0;
	const struct vip_entry *entry;
	const struct vip_index *index;
	void *inner = vip_index.lookup(&zero);

	if (!inner)
		return NULL;
	index = bpf_map_lookup_elem(inner, &zero);
	if (!index)
		return NULL;
	entry = &index->entries[(key * index->seed >> VIP_GROUP_SHIFT) * VIP_GROUP_SIZE];
#pragma unroll
	for (int i = 0; i < VIP_GROUP_SIZE; i++, entry++) {
		if ((load_u64(entry) & VIP_KEY_BITS) == key)
			return entry;
	}
	return NULL;
}

/* Sets `vip`, or returns why the packet stops here. */
static __always_inline enum reason vip_of_packet(const struct packet *packet, const struct vip_entry **vip)
{
	__u64 key = vip_key(packet);

	*vip = vip_find(key);
	if (packet->fragment)
		return *vip && key ? DROP_FRAGMENT : PASS_FRAGMENT; /* key 0 would find an empty entry */
	return *vip ? GO_ON : PASS_NO_VIP;
}

#endif
