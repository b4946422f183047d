/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* The second half of capture.h, which needs the decision. */
#ifndef XDPLB_CAPTURE_OUT_H
#define XDPLB_CAPTURE_OUT_H

#include "capture.h"
#include "journey.h"

/* The decision about a packet is complete, and the frame is as it will be sent, if it is. */
static __always_inline void capture_out(struct xdp_md *ctx, const struct packet *packet,
                                        const struct journey *journey)
{
#ifdef WITH_CAPTURE
	const struct decision *decision = journey->choice.decision;
	struct capture_event event = {
		.time = bpf_ktime_get_ns(),
		.id = decision->capture_id,
		.source_port = packet->ports,
		.destination_port = packet->ports >> 16,
		.slot_number = decision->slot_number,
		.slot = decision->slot,
		.reason = decision->reason,
		.vip = decision->vip,
		.backend = decision->backend,
		.verdict = journey->verdict,
		.chosen = decision->chosen,
		.flags = decision->flags,
		.direction = CAPTURE_OUT,
	};

	if (!event.id)
		return;
	if (journey->verdict == XDP_TX)
		event.ifindex = capture_ifindex(ctx);
	else if (journey->verdict == XDP_REDIRECT && journey->choice.backend)
		event.ifindex = journey->choice.backend->ifindex;
#ifdef WITH_NAT
	if (journey->verdict == XDP_REDIRECT && journey->reply_ifindex)
		event.ifindex = journey->reply_ifindex;
#endif
	capture_submit(ctx, &event, event.ifindex ? ctx->data_end - ctx->data : 0);
#endif
}

#endif
