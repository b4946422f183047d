/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* What the client's packets of a sampled connection tell of its handshake, and how long that took: see layout.h.
 *
 * Packets of one connection come in on one CPU, but different ones may want the same place: it belongs to the one that has
 * put HANDSHAKE_BUSY into it.
 */
#ifndef XDPLB_HANDSHAKE_H
#define XDPLB_HANDSHAKE_H

#include "choose.h"
#include "decision.h"
#include "flow_line.h"
#include "less.h"
#include "maps.h"
#include "packet.h"

#ifdef WITH_PASSIVE

#define HANDSHAKE_OVER (HANDSHAKE_ANSWERED | HANDSHAKE_RESET)
#define HANDSHAKE_OWNER_BITS 48 /* VIP, backend and epoch, as they lie in struct handshake */

/* The word of struct handshake that begins with `vip`, of a connection that has sent nothing but its SYN. */
static __always_inline __u64 handshake_owner(__u32 vip_id, const struct choice *choice)
{
	return (vip_id & 0xffff) | (choice->id & 0xffff) << 16 | (__u64)choice->backend->epoch << 32;
}

static __always_inline __u64 handshake_flow(const struct packet *packet)
{
	__u64 destination = packet->version == 6 ? packet->destination[1] >> 32 : packet->destination[0];

	return packet->ports | destination << 32;
}

/* Returns floor(log2(value)) + 1, and 0 for 0, of a value below 2^32: by halves (Hacker's Delight, section 5-3). */
static __always_inline __u64 handshake_bits(__u64 value)
{
	__u64 bits = 0;

#pragma unroll
	for (int half = 16; half; half /= 2) {
		__u64 shift = less_u64((1ULL << half) - 1, value) * half;

		value >>= shift;
		bits += shift;
	}
	return bits + value;
}

static __always_inline void handshake_count_answer(__u32 backend_id, __u64 latency)
{
	struct handshake_counters *counters = handshake_stats.lookup(&backend_id);
	__u64 bucket = latency >> HANDSHAKE_FIRST_BIT;

	if (!counters)
		return;
	bucket |= -less_u64(0xffffffff, bucket);
	bucket = handshake_bits(bucket & 0xffffffff);
	asm volatile("" : "+r"(bucket)); /* the compiler knows a bound, and the verifier does not */
	if (bucket >= HANDSHAKE_BUCKETS)
		bucket = HANDSHAKE_BUCKETS - 1;
	__sync_fetch_and_add(&counters->answered, 1);
	__sync_fetch_and_add(&counters->latency_ns, latency);
	__sync_fetch_and_add(&counters->latency[bucket], 1);
}

static __always_inline void handshake_count_syn(__u32 backend_id, int repeated)
{
	struct handshake_counters *counters = handshake_stats.lookup(&backend_id);

	if (!counters)
		return;
	__sync_fetch_and_add(&counters->begun, !repeated);
	__sync_fetch_and_add(&counters->repeated, repeated);
}

static __always_inline void handshake_count_reset(__u32 backend_id, int later)
{
	struct handshake_counters *counters = handshake_stats.lookup(&backend_id);

	if (!counters)
		return;
	__sync_fetch_and_add(&counters->refused, !later);
	__sync_fetch_and_add(&counters->reset, later);
}

/* Whether another connection may take the place. */
static __always_inline int handshake_is_free(const struct handshake *held, __u64 before, __u64 now)
{
	if (before == HANDSHAKE_BUSY)
		return 0;
	return !before || held->flags & HANDSHAKE_OVER || now > held->syn_at + HANDSHAKE_WAIT_NS;
}

/* Notes a SYN that is not that of the connection which has the place, or begins it anew. */
static __always_inline void handshake_begin(const struct packet *packet, struct handshake *held, __u64 hash,
                                            __u64 owner, __u64 now)
{
	__u64 before = held->hash;
	int is_same =
		before == hash && held->flow == handshake_flow(packet); /* at another backend, or again */

	if (!is_same && !handshake_is_free(held, before, now))
		return;
	if (__sync_val_compare_and_swap(&held->hash, before, HANDSHAKE_BUSY) != before)
		return;
	held->flow = handshake_flow(packet);
	held->source = packet->source[0];
	held->syn_at = now;
	held->last_at = now;
	write_u64(&held->vip, owner);
	__sync_lock_test_and_set(&held->hash, hash);
	handshake_count_syn(owner >> 16 & 0xffff, 0);
}

static __always_inline void handshake_repeat(struct handshake *held, __u32 backend_id, __u64 now)
{
	held->repeated += held->repeated < 255;
	held->last_at = now;
	handshake_count_syn(backend_id, 1);
}

static __always_inline void handshake_reset(struct handshake *held, __u32 backend_id, __u64 now)
{
	if (!(held->flags & HANDSHAKE_RESET))
		handshake_count_reset(backend_id, !!(held->flags & HANDSHAKE_ANSWERED));
	held->flags |= HANDSHAKE_RESET;
	held->last_at = now;
}

static __always_inline void handshake_answer(const struct packet *packet, struct handshake *held,
                                             __u32 backend_id, __u64 now)
{
	if (!(held->flags & HANDSHAKE_OVER)) {
		held->flags |= HANDSHAKE_ANSWERED;
		handshake_count_answer(backend_id, now - held->syn_at);
	}
	if (packet->tcp_flags & TCP_FIN)
		held->flags |= HANDSHAKE_FIN;
	held->last_at = now;
}

#endif

/* Notes what a packet that was sent tells, if its connection is sampled. */
static __always_inline void handshake_note(const struct packet *packet, __u32 vip_id, __u64 hash,
                                           const struct choice *choice)
{
#ifdef WITH_PASSIVE
	__u64 flow = handshake_flow(packet), owner, now;
	struct handshake *held;
	__u32 place;
	int is_its;

	if (!choice->sampled || !CHANGES_MAPS || packet->protocol != IPPROTO_TCP)
		return;
	place = (hash ^ flow) * FLOW_MIX_A >> (64 - HANDSHAKE_BITS);
	held = handshakes.lookup(&place);
	if (!held)
		return;
	now = bpf_ktime_get_ns();
	owner = handshake_owner(vip_id, choice);
	is_its = held->hash == hash && held->flow == flow &&
	         !((read_u64(&held->vip) ^ owner) << (64 - HANDSHAKE_OWNER_BITS));
	if (packet_is_syn(packet)) {
		if (is_its && !(held->flags & HANDSHAKE_OVER))
			handshake_repeat(held, choice->id, now);
		else
			handshake_begin(packet, held, hash, owner, now);
	} else if (is_its && packet->tcp_flags & TCP_RST) {
		handshake_reset(held, choice->id, now);
	} else if (is_its && !(packet->tcp_flags & TCP_SYN)) {
		handshake_answer(packet, held, choice->id, now);
	}
#endif
}

#endif
