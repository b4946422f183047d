/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* The index of IPv6 VIPs. */
#ifndef XDPLB_VIP6_H
#define XDPLB_VIP6_H

#include "maps.h"
#include "packet.h"

#define VIP6_GROUP_SHIFT (64 - __builtin_ctz(VIP_GROUPS6))

static __always_inline __u64 vip6_group(const struct vip6_index *index, const __u64 address[2],
                                        __u64 transport)
{
	return (__builtin_bswap64(address[0]) * index->seeds[0] +
	        __builtin_bswap64(address[1]) * index->seeds[1] + transport * index->seeds[2]) >>
	       VIP6_GROUP_SHIFT;
}

/* `transport` is port and protocol as an entry has them, 0 to ask for the address alone. */
static __always_inline const struct vip *vip6_find(const __u64 address[2], __u64 transport)
{
	__u32 zero = 0;
	const struct vip6_entry *entry;
	const struct vip6_index *index;
	void *inner = vip_index6.lookup(&zero);

	if (!inner)
		return NULL;
	index = bpf_map_lookup_elem(inner, &zero);
	if (!index)
		return NULL;
	entry = &index->entries[vip6_group(index, address, transport) * VIP_GROUP_SIZE];
#pragma unroll
	for (int i = 0; i < VIP_GROUP_SIZE; i++, entry++) {
		if (entry->address[1] == address[1] && entry->address[0] == address[0] &&
		    read_u64(&entry->port) == transport)
			return &entry->vip;
	}
	return NULL;
}

#endif
