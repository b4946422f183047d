/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* The slot of a flow: who owns it, and whether the records of its flows have to be looked up. */
#ifndef XDPLB_SLOT_H
#define XDPLB_SLOT_H

#include "maps.h"

/* Returns NULL for a VIP without a table. */
static __always_inline const struct vip_table *slot_table(__u32 vip_id)
{
	__u32 zero = 0;
	void *inner = vip_tables.lookup(&vip_id);

	return inner ? bpf_map_lookup_elem(inner, &zero) : NULL;
}

/* Returns the slot that half of a hash, 32 bits, falls into; one without an owner if there is no table. */
static __always_inline __u64 slot_find(const struct vip_table *table, __u64 half)
{
	return table ? table->slots[(half & 0xffffffff) * TABLE_SIZE >> 32] : NO_BACKEND;
}

/* The owner is changing: old connections go to the previous one. */
static __always_inline int slot_is_moving(__u64 slot)
{
	return SLOT_PREVIOUS(slot) != NO_BACKEND && SLOT_PREVIOUS(slot) != SLOT_PINNED;
}

static __always_inline int slot_is_steady(__u64 slot)
{
	return SLOT_PREVIOUS(slot) == NO_BACKEND;
}

#endif
