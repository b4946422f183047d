/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* NAT: the packet's destination becomes the backend's address and port, and it is routed there. */
#ifndef XDPLB_FORWARD_NAT_H
#define XDPLB_FORWARD_NAT_H

#include "classify.h"
#include "forward_frame.h"
#include "layout.h"
#include "nat_icmp.h"
#include "nat_rewrite.h"

static __always_inline enum reason forward_nat(struct xdp_md *ctx, const struct packet *packet,
                                               const struct backend *backend)
{
	__be16 type = packet->version == 6 ? NET16(ETH_P_IPV6) : NET16(ETH_P_IP);
	enum reason reason;
	void *ip;

#ifdef WITH_CAPTURE
	/* The verifier cannot go through both: while packets are captured, the host has errors about replies. */
	if (packet->class == CLASS_ICMP_ERROR)
		return PASS_NOT_TCP_UDP;
#endif
	if (packet->ip_length > backend->mtu)
		return DROP_TOO_BIG;
	reason = frame_open(ctx, packet, backend, 0, type, &ip);
	if (reason != GO_ON)
		return reason;
#ifndef WITH_CAPTURE
	if (nat_icmp_is_error(packet))
		return nat_icmp_rewrite(ctx, packet, ip, backend, NAT_REQUEST | NAT_ROUTED);
#endif
	return nat_rewrite(ctx, packet, ip, backend, NAT_REQUEST | NAT_ROUTED);
}

#endif
