/* The backend of a new flow for schedulers that choose per connection. They read the VIP's table in ways of their own: rr
 * and wrr as the order in which backends take turns, lc and wlc as a list of them, p2c as shares.
 */
#ifndef XDPLB_SCHEDULE_H
#define XDPLB_SCHEDULE_H

#include "backend.h"
#include "maps.h"
#include "slot.h"

#ifdef WITH_SCHEDULERS

#define MAX_CANDIDATES 128

/* CPUs take turns of their own, each from another place in the table: one count for all would be a cache line that every
 * new flow takes from another CPU. Any stretch of the table is as evenly mixed as all of it.
 */
#define TURNS_APART 8191

static __always_inline __u32 schedule_by_rotation(const struct vip_table *table, __u32 vip_id)
{
	struct vip_counters *counters = vip_stats.lookup(&vip_id);
	__u64 turn = bpf_get_smp_processor_id() * TURNS_APART;

	if (counters)
		turn += counters->new_flows;
	turn %= TABLE_SIZE;
	/* The verifier of older kernels does not know what a remainder is below, and the compiler does. */
	asm volatile("" : "+r"(turn));
	return turn < TABLE_SIZE ? SLOT_OWNER(table->slots[turn]) : NO_BACKEND;
}

/* What schedulers by load know of a backend that they may choose. */
struct candidate {
	__u32 id;
	__u32 usable;
	__u64 flows;
	__u64 weight;
};

static __always_inline struct candidate schedule_weigh(__u32 backend_id)
{
	struct candidate candidate = {.id = backend_id};
	struct backend_load *load = backend_loads.lookup(&backend_id);

	if (!load || backend_id == NO_BACKEND)
		return candidate;
	candidate.usable = backend_is_usable(backend_find(backend_id));
	candidate.flows = load->flows;
	candidate.weight = load->weight;
	return candidate;
}

static __always_inline int schedule_is_better(const struct candidate *one, const struct candidate *than)
{
	if (!one->usable)
		return 0;
	return !than->usable || one->flows * than->weight < than->flows * one->weight;
}

/* Begins at another candidate for each flow, so that equals share what comes. */
static __always_inline __u32 schedule_by_least(const struct vip_table *table, __u32 candidates, __u64 hash)
{
	__u32 first = (hash >> 32) * candidates >> 32;
	struct candidate best = schedule_weigh(SLOT_OWNER(table->slots[first & (MAX_CANDIDATES - 1)]));

	for (int i = 1; i < MAX_CANDIDATES; i++) {
		/* Not counted up from the last one: the verifier would follow each place to begin at. */
		__u32 place = first + i < candidates ? first + i : first + i - candidates;
		struct candidate next;

		if (i >= candidates)
			break;
		next = schedule_weigh(SLOT_OWNER(table->slots[place & (MAX_CANDIDATES - 1)]));
		if (schedule_is_better(&next, &best))
			best = next;
	}
	return candidates ? best.id : NO_BACKEND;
}

static __always_inline __u32 schedule_by_two(const struct vip_table *table, __u64 hash)
{
	struct candidate one = schedule_weigh(SLOT_OWNER(slot_find(table, hash >> 32)));
	struct candidate other = schedule_weigh(SLOT_OWNER(slot_find(table, hash)));

	return schedule_is_better(&other, &one) ? other.id : one.id;
}

/* Returns a backend's id, not always of one that is usable, or NO_BACKEND. */
static __always_inline __u32 schedule_flow(const struct vip *vip, const struct vip_table *table, __u64 hash)
{
	if (!table)
		return NO_BACKEND;
	switch (vip->scheduler) {
	case SCHEDULER_ROTATION:
		return schedule_by_rotation(table, vip->id);
	case SCHEDULER_LEAST:
		return schedule_by_least(table, vip->candidates, hash);
	case SCHEDULER_TWO:
		return schedule_by_two(table, hash);
	default:
		return SLOT_OWNER(slot_find(table, hash >> 32));
	}
}

#endif
#endif
