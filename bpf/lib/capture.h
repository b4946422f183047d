/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Captures: each packet is handed out as it came in, before anything is written to it, and as it is sent, with the
 * decision. tcpdump cannot see what XDP sends.
 */
#ifndef XDPLB_CAPTURE_H
#define XDPLB_CAPTURE_H

#include "maps.h"
#include "bytes.h"
#include "packet.h"

#ifdef WITH_CAPTURE

static __always_inline int capture_wants(const struct capture_filter *filter, const struct packet *packet)
{
	if (filter->version && filter->version != packet->version)
		return 0;
	if ((packet->source[0] & filter->source_mask[0]) != filter->source[0] ||
	    (packet->source[1] & filter->source_mask[1]) != filter->source[1] ||
	    (packet->destination[0] & filter->destination_mask[0]) != filter->destination[0] ||
	    (packet->destination[1] & filter->destination_mask[1]) != filter->destination[1])
		return 0;
	return filter->one_in <= 1 || bpf_get_prandom_u32() % filter->one_in == 0;
}

/* The verifier allows reads of the context only at constant offsets from its pointer: the compiler must not keep the
 * address of this field for several reads.
 */
static __always_inline __u32 capture_ifindex(struct xdp_md *ctx)
{
	return read_u32(&ctx->ingress_ifindex);
}

/* Hands out the event with the frame as it is now, cut to the filter's snap length. */
static __always_inline void capture_submit(struct xdp_md *ctx, struct capture_event *event, __u32 length)
{
	__u32 zero = 0;
	const struct capture_filter *filter = capture_filter.lookup(&zero);

	if (!filter)
		return;
	event->frame_bytes = length;
	if (length > filter->snap_bytes)
		length = filter->snap_bytes;
	capture_events.perf_submit_skb(ctx, length, event, sizeof(*event));
}

#endif

/* A packet whose addresses are known has come in. */
static __always_inline void capture_in(struct xdp_md *ctx, const struct packet *packet)
{
#ifdef WITH_CAPTURE
	__u32 zero = 0;
	const struct capture_filter *filter = capture_filter.lookup(&zero);
	struct decision *decision = capture_decision.lookup(&zero);
	struct capture_event event = {.ifindex = capture_ifindex(ctx), .direction = CAPTURE_IN};

	if (!filter || !decision || !capture_wants(filter, packet))
		return;
	event.time = bpf_ktime_get_ns();
	event.id = event.time;
	decision->capture_id = event.id;
	capture_submit(ctx, &event, packet->frame_length);
#endif
}

#endif
