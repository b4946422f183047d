/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* The second half of share.h, which needs the choice as it is once the packet is sent. */
#ifndef XDPLB_SHARE_OUT_H
#define XDPLB_SHARE_OUT_H

#include "choose.h"
#include "flow.h"
#include "maps.h"
#include "packet.h"
#include "share.h"

#ifdef WITH_SYNC

static __always_inline int share_wants_all(__u32 vip_id)
{
	const struct vip_guard *guard = vip_guards.lookup(&vip_id);

	return guard && guard->shares_all;
}

#endif

/* Hands out what other balancers are told of the flow, if that is anything. A reader that sleeps is woken by the first. */
static __always_inline void share_flow(const struct packet *packet, __u32 vip_id, struct choice *choice)
{
#ifdef WITH_SYNC
	struct shared_flow *shared;
	__u32 zero = 0;
	__u64 *lost;
	__u8 share;

	if (!choose_has_sequel(packet, choice) || !CHANGES_MAPS)
		return;
	share = choice->share;
	if (!share || (!(share & (SHARE_UNSETTLED | FLOW_SECOND_CHOICE)) && !share_wants_all(vip_id)))
		return;
	shared = shared_flows.ringbuf_reserve(sizeof(*shared));
	if (!shared) {
		lost = shared_losses.lookup(&zero);
		if (lost)
			*lost += 1;
		return;
	}
	shared->source[0] = packet->source[0];
	shared->source[1] = packet->source[1];
	shared->destination[0] = packet->destination[0];
	shared->destination[1] = packet->destination[1];
	shared->source_port = packet->ports;
	shared->destination_port = packet->ports >> 16;
	shared->vip = vip_id;
	shared->backend = choice->id;
	shared->epoch = choice->backend->epoch;
	shared->flags = share & ~SHARE_UNSETTLED;
	shared->protocol = packet->protocol;
	shared->version = packet->version;
	shared->unused[0] = shared->unused[1] = shared->unused[2] = 0;
	shared_flows.ringbuf_submit(shared, 0);
#endif
}

#endif
