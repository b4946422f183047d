/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* NAT: the packet's destination becomes the backend's address and port, and it is routed there. */
#ifndef XDPLB_FORWARD_NAT_H
#define XDPLB_FORWARD_NAT_H

#include "classify.h"
#include "forward_frame.h"
#include "layout.h"
#include "nat_rewrite.h"

/* An ICMP error quotes the packet as its sender has seen it: that is not rewritten, so the host has it. */
static __always_inline enum reason forward_nat(struct xdp_md *ctx, const struct packet *packet,
                                               const struct backend *backend)
{
	__be16 type = packet->version == 6 ? NET16(ETH_P_IPV6) : NET16(ETH_P_IP);
	enum reason reason;
	void *ip;

	if (packet->class == CLASS_ICMP_ERROR)
		return PASS_NOT_TCP_UDP;
	if (packet->ip_length > backend->mtu)
		return DROP_TOO_BIG;
	reason = frame_open(ctx, packet, backend, 0, type, &ip);
	return reason == GO_ON ? nat_rewrite(ctx, packet, ip, backend, NAT_REQUEST | NAT_ROUTED) : reason;
}

#endif
