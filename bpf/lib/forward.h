/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Sending a packet to its backend. */
#ifndef XDPLB_FORWARD_H
#define XDPLB_FORWARD_H

#include "checksum.h"
#include "classify.h"
#include "forward_dr.h"
#include "forward_ipip.h"
#include "maps.h"

#ifdef WITH_OUTER_IPV6
#include "forward_ipip6.h"
#endif
#ifdef WITH_GUE
#include "forward_gue.h"
#endif
#ifdef WITH_NAT
#include "forward_nat.h"
#endif

/* Whether the packet goes to another link than the one it came from: another NIC, another VLAN, or a tunnel. */
static __always_inline int forward_leaves_link(struct xdp_md *ctx, const struct packet *packet,
                                               const struct backend *backend)
{
	if (backend->forward != FORWARD_DR || backend->ifindex != ctx->ingress_ifindex)
		return 1;
#ifdef WITH_VLAN
	return vlan_is_changed(ctx, packet, backend);
#else
	return 0;
#endif
}

/* Rewrites the frame, or returns why it cannot be sent; the frame is then unchanged. */
static __always_inline enum reason forward_packet(struct xdp_md *ctx, const struct packet *packet,
                                                  const struct backend *backend, __u64 hash)
{
	if (backend->forward == FORWARD_IPIP)
		return forward_ipip(ctx, packet, backend, hash);
#ifdef WITH_OUTER_IPV6
	if (backend->forward == FORWARD_IPIP6)
		return forward_ipip6(ctx, packet, backend, hash);
#endif
#ifdef WITH_GUE
	if (backend->forward == FORWARD_GUE)
		return forward_gue(ctx, packet, backend, hash);
#ifdef WITH_OUTER_IPV6
	if (backend->forward == FORWARD_GUE6)
		return forward_gue6(ctx, packet, backend, hash);
#endif
#endif
#ifdef WITH_NAT
	if (backend->forward == FORWARD_NAT)
		return forward_nat(ctx, packet, backend);
#endif
	return forward_dr(ctx, packet, backend);
}

/* Returns the length of the outer headers that a packet to this backend gets, in bytes. */
static __always_inline __u32 forward_overhead(const struct backend *backend)
{
	switch (backend->forward) {
	case FORWARD_IPIP:
		return IPV4_HEADER;
	case FORWARD_IPIP6:
		return IPV6_HEADER;
	case FORWARD_GUE:
		return IPV4_HEADER + UDP_HEADER;
	case FORWARD_GUE6:
		return IPV6_HEADER + UDP_HEADER;
	default:
		return 0;
	}
}

/* Returns the verdict that sends the frame out by the backend's NIC; XDP_ABORTED if xdplb is not on that NIC. */
static __always_inline int forward_out(struct xdp_md *ctx, const struct backend *backend)
{
	if (backend->ifindex == ctx->ingress_ifindex)
		return XDP_TX;
	return tx_ports.redirect_map(backend->ifindex, 0);
}

#endif
