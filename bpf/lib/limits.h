/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Rate limits of a VIP, per source and in total, by the generic cell rate algorithm (see layout.h). */
#ifndef XDPLB_LIMITS_H
#define XDPLB_LIMITS_H

#include "bucket.h"
#include "classify.h"
#include "decision.h"
#include "maps.h"
#include "packet.h"

#ifdef WITH_LIMITS

/* What is refused is not charged: else SYNs over the limit of new flows would use up the packets of open connections.
 */
static __always_inline int limits_allow(struct bucket *bucket, __u64 packet_cost, __u64 flow_cost,
                                        const struct packet *packet, __u64 now)
{
	if (!packet_is_syn(packet))
		flow_cost = 0;
	if (!bucket_has_room(bucket->packets, packet_cost, now) ||
	    !bucket_has_room(bucket->flows, flow_cost, now))
		return 0;
	bucket_charge(&bucket->packets, packet_cost, now);
	bucket_charge(&bucket->flows, flow_cost, now);
	return 1;
}

/* A source's first packet always passes. An IPv6 source is a /64, the upper half of an address: a host can use as many
 * addresses of it as it likes, and would get a bucket for each.
 */
static __always_inline int limits_allow_source(const struct packet *packet, __u32 vip_id,
                                               const struct vip_guard *guard, __u64 now)
{
	struct source_key key = {.source = {packet->source[0]}, .vip = vip_id};
	struct bucket *bucket = source_buckets.lookup(&key);

	if (!bucket) {
		struct bucket first = {
			.packets = now + guard->source_packet_cost,
			.flows = packet_is_syn(packet) ? now + guard->source_flow_cost : now,
		};

		if (CHANGES_MAPS)
			source_buckets.insert(&key, &first);
		return 1;
	}
	return limits_allow(bucket, guard->source_packet_cost, guard->source_flow_cost, packet, now);
}

/* An ICMP error is charged to the VIP alone: it comes from any router, not from the client whose flow it is about. */
static __always_inline enum reason limits_check_vip(const struct packet *packet, __u32 vip_id)
{
	struct vip_guard *guard = vip_guards.lookup(&vip_id);
	struct bucket *bucket = vip_buckets.lookup(&vip_id);
	__u64 now = bpf_ktime_get_coarse_ns();

	if (!guard || !bucket)
		return DROP_INTERNAL;
	if (packet->class != CLASS_ICMP_ERROR && guard->source_packet_cost | guard->source_flow_cost &&
	    !limits_allow_source(packet, vip_id, guard, now))
		return DROP_SOURCE_RATE;
	return limits_allow(bucket, guard->packet_cost, guard->flow_cost, packet, now) ? GO_ON
	                                                                               : DROP_VIP_RATE;
}

#endif

/* `vip_flags` has VIP_LIMITED if the VIP has limits, or may have: without one, all its costs are 0. */
static __always_inline enum reason limits_check(const struct packet *packet, __u32 vip_id, __u8 vip_flags)
{
#ifdef WITH_LIMITS
	if (vip_flags & VIP_LIMITED)
		return limits_check_vip(packet, vip_id);
#endif
	return GO_ON;
}

#endif
