/* The backend of a new flow for schedulers that choose per connection. They read the VIP's table in ways of their own: rr
 * and wrr as the order in which backends take turns, lc and wlc as a list of them, p2c as shares.
 */
#ifndef XDPLB_SCHEDULE_H
#define XDPLB_SCHEDULE_H

#include "backend.h"
#include "less.h"
#include "maps.h"
#include "slot.h"

#ifdef WITH_SCHEDULERS

/* CPUs take turns of their own, each from another place in the table: one count for all would be a cache line that every
 * new flow takes from another CPU. Any stretch of the table is as evenly mixed as all of it.
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
	/* The verifier of older kernels does not know what a remainder is below, and the compiler does. */
	asm volatile("" : "+r"(turn));
	if (turn >= TABLE_SIZE)
		return NO_BACKEND;
	backend_id = SLOT_OWNER(table->slots[turn]);
	if (backend_is_usable(backend_find(backend_id)))
		return backend_id;
	/* Only a flow that is sent on ends a turn: without this, all that come would wait for this backend. */
	return SLOT_OWNER(slot_find(table, hash >> 32));
}

/* What schedulers by load know of a backend that they may choose. `flows` counts the new one too: of idle backends the
 * weightiest is to have it, as after it each has least to do for its weight. The weight of one that may not be sent to
 * is 0.
 */
struct candidate {
	__u64 id;
	__u64 flows;
	__u64 weight;
};

/* Returns whether there is such a backend: always, in a table that the control plane wrote. */
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

/* Makes `best` the one that has fewer flows for its weight; where both have the same, `other` if `prefer_other` is 1.
 * Nobody without weight is better than one with it. Returns all ones if it was `other`, else 0.
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

/* Of equals the first one wins, counted from another place for each flow, so that they share what comes. The places are
 * gone through from 0 all the same, since the verifier would follow each place to begin at: who is best when the one to
 * begin at comes loses to its equals.
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

		/* Or the compiler counts down from `candidates`, and older kernels do not see that this ends. */
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

/* Returns a backend's id, not always of one that is usable, or NO_BACKEND. */
static __always_inline __u32 schedule_flow(const struct vip *vip, const struct vip_table *table, __u64 hash)
{
	if (!table)
		return NO_BACKEND;
	switch (vip->scheduler) {
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
