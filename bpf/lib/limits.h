/* Rate limits of a VIP, for each source and for all of them, by the generic cell rate algorithm (see layout.h). */
#ifndef XDPLB_LIMITS_H
#define XDPLB_LIMITS_H

#include "decision.h"
#include "maps.h"
#include "packet.h"

#ifdef WITH_LIMITS

/* Returns whether one more passes, and charges it then. `empty_at` is when the bucket would be empty. CPUs that charge at
 * once may let through one more each, but what they charged is not lost.
 */
static __always_inline int limits_charge(__u64 *empty_at, __u64 cost, __u64 now)
{
	__u64 at = *empty_at;

	if (!cost)
		return 1;
	if (at < now) {
		at = now;
		if (CHANGES_MAPS)
			*empty_at = now;
	}
	if (at + cost > now + BUCKET_NS)
		return 0;
	if (CHANGES_MAPS)
		__sync_fetch_and_add(empty_at, cost);
	return 1;
}

static __always_inline int limits_allow(struct bucket *bucket, __u64 packet_cost, __u64 flow_cost,
                                        const struct packet *packet, __u64 now)
{
	if (!limits_charge(&bucket->packets, packet_cost, now))
		return 0;
	return !packet_is_syn(packet) || limits_charge(&bucket->flows, flow_cost, now);
}

/* No cost is above what a bucket holds, so that a source's first packet always passes. Of IPv6 a source is a /64, the upper
 * half of an address: a host has as many addresses of one as it likes, and would fill as many buckets.
 */
static __always_inline int limits_allow_source(const struct packet *packet, const struct vip *vip,
                                               const struct vip_guard *guard, __u64 now)
{
	struct source_key key = {.source = {packet->source[0]}, .vip = vip->id};
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

static __always_inline enum reason limits_check_vip(const struct packet *packet, const struct vip *vip)
{
	__u32 vip_id = vip->id;
	struct vip_guard *guard = vip_guards.lookup(&vip_id);
	struct bucket *bucket = vip_buckets.lookup(&vip_id);
	__u64 now = bpf_ktime_get_coarse_ns();

	if (!guard || !bucket)
		return DROP_INTERNAL;
	if (guard->source_packet_cost | guard->source_flow_cost &&
	    !limits_allow_source(packet, vip, guard, now))
		return DROP_SOURCE_RATE;
	return limits_allow(bucket, guard->packet_cost, guard->flow_cost, packet, now) ? GO_ON
	                                                                               : DROP_VIP_RATE;
}

#endif

static __always_inline enum reason limits_check(const struct packet *packet, const struct vip *vip)
{
#ifdef WITH_LIMITS
	if (vip->flags & VIP_LIMITED)
		return limits_check_vip(packet, vip);
#endif
	return GO_ON;
}

#endif
