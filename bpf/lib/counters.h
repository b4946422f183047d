/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* The counters: each packet either stops, for a reason, or is sent, to a backend of a VIP. And each has a verdict. */
#ifndef XDPLB_COUNTERS_H
#define XDPLB_COUNTERS_H

#include "choose.h"
#include "decision.h"
#include "maps.h"
#include "packet.h"

static __always_inline void count_stop(enum reason reason)
{
	__u32 key = reason;
	__u64 *packets = reason_stats.lookup(&key);

	if (packets && CHANGES_MAPS)
		*packets += 1;
}

static __always_inline void count_sent(const struct packet *packet, __u32 vip_id, struct choice *choice)
{
	__u32 backend_id = choice->id;
	struct backend_counters *backend = backend_stats.lookup(&backend_id);
	struct vip_counters *vip = vip_stats.lookup(&vip_id);

	__u64 length = packet->is_plain ? packet->plain_length : packet->frame_length;

	if (!backend || !vip || !CHANGES_MAPS)
		return;
	backend->packets += 1;
	backend->bytes += length;
	vip->packets += 1;
	vip->bytes += length;
	if (!choose_has_sequel(packet, choice))
		return;
	backend->new_flows += choice->new_flow;
	vip->new_flows += choice->new_flow;
	vip->at_risk += choice->at_risk;
}

static __always_inline void count_reply(__u32 vip_id, __u32 backend_id)
{
	struct backend_counters *backend = backend_stats.lookup(&backend_id);
	struct vip_counters *vip = vip_stats.lookup(&vip_id);

	if (!backend || !vip || !CHANGES_MAPS)
		return;
	backend->replies += 1;
	vip->replies += 1;
}

/* About 3 ns a packet, a tenth of what the whole program costs: so it is there only where somebody wants it. */
static __always_inline void count_verdict(struct xdp_md *ctx, __u32 verdict)
{
#ifdef WITH_NICS
	__u32 place = ctx->ingress_ifindex % NIC_PLACES;
	struct nic_counters *nic = nic_stats.lookup(&place);

	if (nic && CHANGES_MAPS)
		nic->packets[verdict % NIC_ACTIONS] += 1;
#endif
}

#endif
