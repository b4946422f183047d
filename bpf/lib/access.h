/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Access lists: one search covers the lists of all VIPs, and finds a bit for each list (see layout.h). */
#ifndef XDPLB_ACCESS_H
#define XDPLB_ACCESS_H

#include "less.h"
#include "maps.h"
#include "packet.h"

#ifdef WITH_ACCESS

/* Steps of a binary search over as many intervals as there can be. */
#define ACCESS4_STEPS 20
#define ACCESS6_STEPS 18

/* Which half to go on with is computed, without a branch: no CPU could predict it, and the verifier would follow both
 * sides in each step.
 */

/* Returns which lists deny an address, NULL if no lists were ever written. */
static __always_inline const struct access_mask *access_find4(__u32 address)
{
	__u32 zero = 0;
	__u64 first, count;
	const struct access4 *access;
	void *inner = access4.lookup(&zero);

	if (!inner)
		return NULL;
	access = bpf_map_lookup_elem(inner, &zero);
	if (!access)
		return NULL;
	first = access->root[address >> 16];
	count = access->root[(address >> 16) + 1] - first + 1;
	for (int i = 0; i < ACCESS4_STEPS && count > 1; i++) {
		__u64 half = count / 2;
		__u64 start = access->starts[(first + half) & (ACCESS4_INTERVALS - 1)];

		first += half & (less_u64(address, start) - 1);
		count -= half;
	}
	return &access->masks[access->classes[first & (ACCESS4_INTERVALS - 1)] & (ACCESS_CLASSES - 1)];
}

#ifdef WITH_IPV6

static __always_inline const struct access_mask *access_find6(__u64 upper, __u64 lower)
{
	__u32 zero = 0;
	__u64 block = 0, first, count;
	const struct access6 *access;
	void *inner = access6.lookup(&zero);

	if (!inner)
		return NULL;
	access = bpf_map_lookup_elem(inner, &zero);
	if (!access)
		return NULL;
	if (upper >= access->base) {
		block = (upper - access->base) >> (access->shift & 63);
		block = block < ACCESS6_BLOCKS ? block : ACCESS6_BLOCKS - 1;
		/* Else the compiler adds first and compares the old value: older kernels then do not see the bound. */
		asm volatile("" : "+r"(block));
		block++;
	}
	first = access->root[block];
	count = access->root[block + 1] - first + 1;
	for (int i = 0; i < ACCESS6_STEPS && count > 1; i++) {
		__u64 half = count / 2;
		__u32 middle = (first + half) & (ACCESS6_INTERVALS - 1);
		__u64 start = access->starts[middle].high;
		__u64 is_less = less_u64(upper, start);

		if (upper == start)
			is_less = less_u64(lower, access->starts[middle].low);
		first += half & (is_less - 1);
		count -= half;
	}
	return &access->masks[access->classes[first & (ACCESS6_INTERVALS - 1)] & (ACCESS_CLASSES - 1)];
}

#endif

static __always_inline const struct access_mask *access_find(const struct packet *packet)
{
#ifdef WITH_IPV6
	if (packet->version == 6)
		return access_find6(__builtin_bswap64(packet->source[0]),
		                    __builtin_bswap64(packet->source[1]));
#endif
	return access_find4(__builtin_bswap32(packet->source[0]));
}

#endif

static __always_inline enum reason access_check(const struct packet *packet, const struct vip *vip)
{
#ifdef WITH_ACCESS
	if (vip->flags & VIP_ACCESS) {
		__u32 vip_id = vip->id;
		struct vip_guard *guard = vip_guards.lookup(&vip_id);
		const struct access_mask *mask = access_find(packet);

		if (!guard || !mask)
			return DROP_INTERNAL;
		if (mask->denied[guard->access_list / 64 % (ACCESS_LISTS / 64)] >> guard->access_list % 64 &
		    1)
			return DROP_DENIED;
	}
#endif
	return GO_ON;
}

#endif
