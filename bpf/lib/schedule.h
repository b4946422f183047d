/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* The backend of a new flow for schedulers that choose per connection. Each reads the VIP's table in its own way: rr
 * and wrr as the order of turns, lc and wlc as a list of the backends, p2c as their shares.
 */
#ifndef XDPLB_SCHEDULE_H
#define XDPLB_SCHEDULE_H

#include "backend.h"
#include "less.h"
#include "maps.h"
#include "slot.h"

#ifdef WITH_SCHEDULERS

/* Each CPU counts its own turns, beginning at another place in the table: a common counter would be a cache line that
 * moves between CPUs with each new flow. Any part of the table is as evenly mixed as all of it.
 */
#define TURNS_APART 8191

static __always_inline __u32 schedule_by_rotation(const struct vip_table *table, __u32 vip_id, __u64 hash)
{
	struct vip_counters *counters = vip_stats.lookup(&vip_id);
	__u64 turn = bpf_get_smp_processor_id() * TURNS_APART;
	__u32 backend_id;

	if (counters)
		turn += counters->new_flows;
	turn %= TABLE_SIZE;
	/* Older kernels do not know that a remainder is less than the divisor, but the compiler does. */
	asm volatile("" : "+r"(turn));
	if (turn >= TABLE_SIZE)
		return NO_BACKEND;
	backend_id = SLOT_OWNER(table->slots[turn]);
	if (backend_is_usable(backend_find(backend_id)))
		return backend_id;
	/* A turn ends only when a flow is sent: without this, all new flows would be dropped until the table changes. */
	return SLOT_OWNER(slot_find(table, hash >> 32));
}

/* What the schedulers by load know about a backend. `flows` includes the new flow: of idle backends, the one with the
 * highest weight gets it, since it then has the lowest load for its weight. The weight of an unusable backend is 0.
 */
struct candidate {
	__u64 id;
	__u64 flows;
	__u64 weight;
};

/* Returns whether the backend exists: always, in a table that the control plane wrote. */
static __always_inline int schedule_weigh(__u32 slot, struct candidate *candidate)
{
	__u32 backend_id = SLOT_OWNER(slot);
	const struct backend_load *load = backend_loads.lookup(&backend_id);

	if (!load)
		return 0;
	candidate->id = backend_id;
	candidate->weight = (__u64)load->weight * load->usable;
	candidate->flows = (__u64)load->flows + 1;
	return 1;
}

/* Makes `best` the one with the lower load for its weight; of equals, `other` if `prefer_other` is 1. One without
 * weight is never better than one with it. Returns all ones if it was `other`, else 0.
 */
static __always_inline __u64 schedule_compare(struct candidate *best, const struct candidate *other,
                                              __u64 prefer_other)
{
	__u64 is_other = -less_u64(other->flows * best->weight, best->flows * other->weight + prefer_other);

	best->id ^= (best->id ^ other->id) & is_other;
	best->flows ^= (best->flows ^ other->flows) & is_other;
	best->weight ^= (best->weight ^ other->weight) & is_other;
	return is_other;
}

/* Of equals the first one wins, counted from a place that depends on the flow, so that equals share new flows. The loop
 * still begins at place 0, because the verifier would follow each place to begin at; instead, the best of those before
 * the first place loses against its equals from there on.
 */
static __always_inline __u32 schedule_by_least(const struct vip_table *table, __u32 candidates, __u64 hash)
{
	__u64 first = (hash >> 32) * candidates >> 32;
	__u64 is_before = less_u64(0, first); /* whether the best is from a place before the first one */
	struct candidate best, other;

	if (!candidates || !schedule_weigh(table->slots[0], &best))
		return NO_BACKEND;
	for (__u32 place = 1; place < MAX_CANDIDATES; place++) {
		__u64 comes_before, is_other;

		/* Else the compiler counts down from `candidates`, and older kernels do not see that the loop ends. */
		asm volatile("" : "+r"(place));
		if (place >= candidates || !schedule_weigh(table->slots[place], &other))
			break;
		comes_before = less_u64(place, first);
		is_other = schedule_compare(&best, &other, is_before & ~comes_before);
		is_before ^= (is_before ^ comes_before) & is_other;
	}
	return best.id;
}

static __always_inline __u32 schedule_by_two(const struct vip_table *table, __u64 hash)
{
	struct candidate best, other;

	if (!schedule_weigh(slot_find(table, hash >> 32), &best) ||
	    !schedule_weigh(slot_find(table, hash), &other))
		return NO_BACKEND;
	schedule_compare(&best, &other, 0);
	return best.id;
}

/* Returns the id of a backend, which may be unusable, or NO_BACKEND. */
static __always_inline __u32 schedule_flow(const struct vip *vip, const struct vip_table *table, __u64 hash)
{
	if (!table)
		return NO_BACKEND;
	switch (VIP_SCHEDULER(vip)) {
	case SCHEDULER_ROTATION:
		return schedule_by_rotation(table, vip->id, hash);
	case SCHEDULER_LEAST:
		return schedule_by_least(table, vip->candidates, hash);
	default:
		return schedule_by_two(table, hash);
	}
}

#endif
#endif
