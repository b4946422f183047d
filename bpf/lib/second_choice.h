/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* The second choice of a new TCP connection: another backend than the one that comes first, because that one is suspect and
 * has not answered the connection's SYN, cannot be sent to, or gets as many new connections as it may.
 *
 * The choice is recorded with FLOW_SECOND_CHOICE: such a record counts in steady slots too. It is on probation first, as
 * that of any SYN: a flood that knows how to be sent elsewhere evicts no open connection. VIPs without VIP_SECOND_CHOICE have
 * none of this. docs/passive.md says what it is for, docs/slots.md what it is to slots.
 */
#ifndef XDPLB_SECOND_CHOICE_H
#define XDPLB_SECOND_CHOICE_H

#include "backend.h"
#include "bucket.h"
#include "choice.h"
#include "decision.h"
#include "flow.h"
#include "less.h"
#include "maps.h"
#include "packet.h"
#include "share.h"
#include "slot.h"

#ifdef WITH_SECOND_CHOICE

/* A SYN that comes again after this long was not answered: the first timeout of Linux, Windows, macOS and the BSDs is 1 s
 * (RFC 6298, 2.1), and the clock is coarse, by 10 ms at most. No client that is answered within 0.8 s is sent elsewhere.
 */
#define SECOND_CHOICE_AFTER (SECOND / 10 * 8)

/* How many slots are looked at, one after the other, from where half of the flow's hash falls. Of a backend that has a tenth
 * of the table, and is the only other one, two flows in a thousand find no slot.
 */
#define SECOND_CHOICE_TRIES 64

static __always_inline int second_choice_is_asked(const struct packet *packet, const struct vip *vip)
{
	return vip->flags & VIP_SECOND_CHOICE && packet->protocol == IPPROTO_TCP;
}

/* What the flow's record, which counts, says of a SYN that is no new flow. */
static __always_inline __u8 second_choice_of_record(const struct flow *flow, __u64 now)
{
	return !(flow->flags & FLOW_ESTABLISHED) && now >= flow->last_seen + SECOND_CHOICE_AFTER
	               ? CHOICE_WAITED
	               : CHOICE_KEPT;
}

/* Charges a backend for a new connection. */
static __always_inline void second_choice_charge(struct backend_doubt *doubt, __u64 now)
{
	bucket_charge(&doubt->empty_at, doubt->flow_cost, now);
}

/* Returns 1 if a backend may have one more new connection in this second, else 0, without a branch. */
static __always_inline __u64 second_choice_has_room(const struct backend_doubt *doubt, __u64 now)
{
	return 1 ^ less_u64(now + BUCKET_NS, doubt->empty_at + doubt->flow_cost);
}

/* Returns the first backend of some slots that may be the choice, NO_BACKEND if none may. It follows from the flow's hash,
 * the table and what is said of the backends: balancers that agree on these choose the same.
 */
static __always_inline __u64 second_choice_find(const struct vip_table *table, __u64 hash, __u64 first,
                                                __u64 now)
{
	__u64 start = (hash & 0xffffffff) * (TABLE_SIZE - SECOND_CHOICE_TRIES) >> 32;
	__u64 found = NO_BACKEND;

	if (!table)
		return NO_BACKEND;
	for (__u32 step = 0; step < SECOND_CHOICE_TRIES; step++) {
		const struct backend_doubt *doubt;
		__u64 is_other;
		__u32 owner;

		asm volatile("" : "+r"(step)); /* see schedule_by_least */
		if (step >= SECOND_CHOICE_TRIES || found)
			break;
		owner = SLOT_OWNER(table->slots[start + step]);
		doubt = backend_doubts.lookup(&owner);
		if (!doubt) /* never, in a table that the control plane wrote */
			break;
		is_other = less_u64(0, owner ^ first);
		found = owner & -(doubt->takes & is_other & second_choice_has_room(doubt, now));
		asm volatile("" : "+r"(found));
	}
	return found;
}

static __always_inline void second_choice_count(__u32 backend_id, int failover)
{
	struct second_counters *counters = second_stats.lookup(&backend_id);

	if (!counters || !CHANGES_MAPS)
		return;
	counters->failovers += failover;
	counters->over += !failover;
}

/* What to do with a SYN. */
#define SECOND_CHOICE_STAY 0
#define SECOND_CHOICE_FAILOVER 1
#define SECOND_CHOICE_OVER 2

/* Returns whether a SYN is to go to another backend than `first`, and why. One that stays as a new connection is charged. */
static __always_inline __u32 second_choice_why(__u32 first, __u8 syn, __u64 now)
{
	struct backend_doubt *doubt = backend_doubts.lookup(&first);

	if (syn == CHOICE_KEPT || !doubt)
		return SECOND_CHOICE_STAY;
	if (syn == CHOICE_WAITED)
		return doubt->suspect ? SECOND_CHOICE_FAILOVER : SECOND_CHOICE_STAY;
	if (!backend_is_usable(backend_find(first)))
		return SECOND_CHOICE_FAILOVER;
	if (!second_choice_has_room(doubt, now))
		return SECOND_CHOICE_OVER;
	second_choice_charge(doubt, now);
	return SECOND_CHOICE_STAY;
}

/* Puts another backend into the place of the one chosen for a SYN, if that is what to do. Returns GO_ON, or that the
 * backend gets no more new connections now and no other one can take this one.
 */
static __always_inline enum reason second_choice_make(const struct packet *packet,
                                                      const struct vip_table *table, __u64 hash,
                                                      struct choice *choice)
{
	__u64 now = bpf_ktime_get_coarse_ns();
	__u64 first = packet_blur(packet, choice->id);
	__u64 syn = packet_blur(packet, choice->syn);
	__u64 why = packet_blur(packet, second_choice_why(first, syn, now));
	struct backend_doubt *doubt;
	__u32 other;

	if (why == SECOND_CHOICE_STAY)
		return GO_ON;
	other = second_choice_find(table, hash, first, now);
	doubt = backend_doubts.lookup(&other);
	if (other == NO_BACKEND || !doubt)
		return why == SECOND_CHOICE_FAILOVER ? GO_ON : DROP_BACKEND_RATE;
	second_choice_charge(doubt, now);
	second_choice_count(first, why == SECOND_CHOICE_FAILOVER);
	if (syn == CHOICE_WAITED)
		choice->replaced = first;
	choice->id = other;
	choice->record = FLOW_PROBATION_SECOND;
	DECISION_NOTE(choice, chosen, CHOSEN_SECOND);
	return GO_ON;
}

/* When a connection of the VIP that is not with its slot's owner was last seen, NULL if that is so long ago that none can
 * be open.
 */
static __always_inline __u64 *second_choice_strays(const struct vip *vip, __u64 *now)
{
	__u32 vip_id = vip->id;
	__u64 *strays = vip_strays.lookup(&vip_id);

	if (!strays || !*strays)
		return NULL;
	*now = bpf_ktime_get_coarse_ns();
	return *now <= *strays + vip->idle_seconds * SECOND + FLOW_TOUCH_AFTER ? strays : NULL;
}

/* Sends a connection of a steady slot that is not with the owner where its record says. Returns that, NULL if it has none;
 * sets `table` to where it is.
 */
static __always_inline struct flow *second_choice_follow(const struct packet *packet, struct choice *choice,
                                                         __u8 *table)
{
	struct flow *flow = flow_find(packet, table);

	if (!flow || !(flow->flags & FLOW_SECOND_CHOICE) || !flow_backend(flow))
		return NULL;
	choice->id = flow->backend;
	DECISION_NOTE(choice, chosen, CHOSEN_RECORD);
	DECISION_FLAG(choice, DECISION_RECORD);
	return flow;
}

/* For a packet of a steady slot that is no SYN: it goes where its connection is, if that is not with the owner. */
static __always_inline void second_choice_by_record(const struct packet *packet, const struct vip *vip,
                                                    struct choice *choice)
{
	__u64 now, *strays = second_choice_strays(vip, &now);
	struct flow *flow;
	__u8 table;

	if (!strays)
		return;
	flow = second_choice_follow(packet, choice, &table);
	if (!flow)
		return;
	if (CHANGES_MAPS && flow_is_alive(flow, packet) && now >= *strays + FLOW_TOUCH_AFTER)
		*strays = now;
	share_note(choice, flow_use(flow, table, packet, vip, now));
}

/* The same for an ICMP error about such a connection; returns whether it is about one. */
static __always_inline int second_choice_for_error(const struct packet *packet, const struct vip *vip,
                                                   struct choice *choice)
{
	__u64 now;
	__u8 table;

	return second_choice_strays(vip, &now) && second_choice_follow(packet, choice, &table);
}

/* Notes that a connection of the VIP is not with its slot's owner. */
static __always_inline void second_choice_note_stray(const struct vip *vip)
{
	__u32 vip_id = vip->id;
	__u64 *strays = vip_strays.lookup(&vip_id);

	if (strays)
		*strays = bpf_ktime_get_coarse_ns();
}

#else

static __always_inline int second_choice_is_asked(const struct packet *packet, const struct vip *vip)
{
	return 0;
}

#endif
#endif
