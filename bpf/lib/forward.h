/* How a packet leaves for its backend. */
#ifndef XDPLB_FORWARD_H
#define XDPLB_FORWARD_H

#include "forward_dr.h"
#include "forward_ipip.h"
#include "maps.h"

/* Rewrites the frame, or returns why it cannot be sent. */
static __always_inline enum reason forward_packet(struct xdp_md *ctx, const struct packet *packet,
                                                  const struct backend *backend, __u64 hash)
{
	if (backend->forward == FORWARD_IPIP)
		return forward_ipip(ctx, packet, backend, hash);
	return forward_dr(ctx, packet, backend);
}

/* Returns the verdict that sends the frame out by the backend's NIC; XDP_ABORTED where that NIC is not one of ours. */
static __always_inline int forward_out(struct xdp_md *ctx, const struct backend *backend)
{
	if (backend->ifindex == ctx->ingress_ifindex)
		return XDP_TX;
	return tx_ports.redirect_map(backend->ifindex, 0);
}

#endif
