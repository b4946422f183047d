/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* What all kinds of forwarding do with a frame: make room in front of the IP packet, and write the Ethernet header and
 * its tags.
 */
#ifndef XDPLB_FORWARD_FRAME_H
#define XDPLB_FORWARD_FRAME_H

#include "layout.h"
#include "bytes.h"
#include "packet.h"

#ifdef WITH_VLAN
#include "vlan.h"
#endif

/* Writes both MACs, and 2 bytes behind them that are to be overwritten: the frame has 14. Each is read by one 8-byte load,
 * so that neither is ever half an old one, and written with what follows it in the backend.
 */
static __always_inline void frame_write_macs(void *frame, const struct backend *backend)
{
	write_u64(frame, read_u64(backend->destination_mac));
	write_u64(frame + ETH_ALEN, read_u64(backend->source_mac));
}

#ifdef WITH_VLAN
/* frame_open for a frame that comes in or is sent with tags. */
static __always_inline enum reason frame_open_tagged(struct xdp_md *ctx, const struct packet *packet,
                                                     const struct backend *backend, int outer, __be16 type,
                                                     void **at)
{
	void *frame = (void *)(long)ctx->data, *end;
	struct vlan vlan;
	int growth;

	if (frame + VLAN_HEADER_MOST > (void *)(long)ctx->data_end)
		return DROP_INTERNAL;
	vlan = vlan_of(frame, packet, backend);
	growth = outer + ETH_HLEN + vlan.length - packet->ethernet;
	if (growth && bpf_xdp_adjust_head(ctx, -growth))
		return DROP_NO_HEADROOM;
	frame = (void *)(long)ctx->data;
	*at = frame + ETH_HLEN + vlan.length;
	asm volatile(
		""
		: "+r"(*at)); /* one pointer: the verifier knows the bounds only of the one that was compared */
	end = packet_end(ctx);
	if (frame + VLAN_HEADER_MOST > end || *at + outer > end)
		return DROP_INTERNAL;
	frame_write_macs(frame, backend);
	vlan_write(frame, vlan, type);
	return GO_ON;
}
#endif

/* Gives the frame an Ethernet header for the backend and `outer` bytes for outer headers behind it; sets `at` to where
 * these begin. `type` is the Ethernet header's. The frame is unchanged if there is no headroom.
 */
static __always_inline enum reason frame_open(struct xdp_md *ctx, const struct packet *packet,
                                              const struct backend *backend, int outer, __be16 type,
                                              void **at)
{
	void *frame;

#ifdef WITH_VLAN
	if (vlan_is_at_work(packet, backend))
		return frame_open_tagged(ctx, packet, backend, outer, type, at);
#endif
	if (outer && bpf_xdp_adjust_head(ctx, -outer))
		return DROP_NO_HEADROOM;
	frame = (void *)(long)ctx->data;
	*at = frame + ETH_HLEN;
	if (*at + outer > (void *)(long)ctx->data_end)
		return DROP_INTERNAL;
	frame_write_macs(frame, backend);
	write_u16(frame + 2 * ETH_ALEN, type);
	return GO_ON;
}

#endif
