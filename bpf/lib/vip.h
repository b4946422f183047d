/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Which VIP a packet is for: by address, port and protocol in the index, else by the longest prefix around the address.
 */
#ifndef XDPLB_VIP_H
#define XDPLB_VIP_H

#include "maps.h"
#include "packet.h"

#ifdef WITH_IPV6
#include "vip6.h"
#endif
#ifdef WITH_WILDCARD
#include "vip_prefix.h"
#endif

#define VIP_GROUP_SHIFT (64 - __builtin_ctz(VIP_GROUPS))

/* `transport` is port and protocol as an entry has them, 0 to ask for the address alone. */
static __always_inline const struct vip *vip_find(__u64 address, __u64 transport)
{
	__u64 key = address | transport << 32;
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
		if (read_u64(entry) == key)
			return &entry->vip;
	}
	return NULL;
}

static __always_inline const struct vip *vip_in_index(const struct packet *packet, __u64 transport)
{
#ifdef WITH_IPV6
	if (packet->version == 6)
		return vip6_find(packet->destination, transport);
#endif
	return vip_find(packet->destination[0], transport);
}

/* Whether a plain packet is for a VIP that has nothing of VIP_SPECIAL: one comparison, after which nothing of it has to be
 * looked at.
 */
static __always_inline int vip_is_straight(const struct packet *packet, const struct vip *vip)
{
	__u64 word;

	if (!packet->is_plain)
		return 0;
	__builtin_memcpy(&word, vip, sizeof(word));
	return !(word & VIP_SPECIAL);
}

/* Copies the VIP of the packet's flow; returns whether there is one. A copy (one load) looks the same to the verifier
 * wherever the VIP was found, so that it follows only one of them through the rest of the program.
 */
static __always_inline int vip_of_packet(const struct packet *packet, struct vip *vip)
{
	const struct vip *found = vip_in_index(packet, packet->ports >> 16 | (__u64)packet->protocol << 16);
	__u64 word;

#ifdef WITH_WILDCARD
	if (!found)
		found = vip_by_prefix(packet);
#endif
	if (!found)
		return 0;
	word = read_u64(found);
	__builtin_memcpy(vip, &word, sizeof(word));
	return 1;
}

/* Whether the packet's destination has any VIP. Address 0 would match an empty entry. */
static __always_inline int vip_has_address(const struct packet *packet)
{
	if (!(packet->destination[0] | packet->destination[1]))
		return 0;
	if (vip_in_index(packet, 0))
		return 1;
#ifdef WITH_WILDCARD
	if (vip_rules_of(packet))
		return 1;
#endif
	return 0;
}

#endif
