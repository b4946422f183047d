/* The slot of a flow: who owns it, and whether its flows have to be looked up. */
#ifndef XDPLB_SLOT_H
#define XDPLB_SLOT_H

#include "maps.h"

/* Returns 0, nobody's slot, for a VIP without a table. */
static __always_inline __u32 slot_find(__u32 vip_id, __u64 hash)
{
	__u32 zero = 0;
	const struct vip_table *table;
	void *inner = vip_tables.lookup(&vip_id);

	if (!inner)
		return 0;
	table = bpf_map_lookup_elem(inner, &zero);
	if (!table)
		return 0;
	return table->slots[(hash >> 32) * TABLE_SIZE >> 32];
}

/* Owners change, and old connections go to the previous one. */
static __always_inline int slot_is_moving(__u32 slot)
{
	return SLOT_PREVIOUS(slot) != NO_BACKEND && SLOT_PREVIOUS(slot) != SLOT_PINNED;
}

static __always_inline int slot_is_steady(__u32 slot)
{
	return SLOT_PREVIOUS(slot) == NO_BACKEND;
}

#endif
