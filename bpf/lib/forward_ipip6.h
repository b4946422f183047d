/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* IPIP in IPv6 (RFC 2473): the packet is sent to the backend inside an IPv6 packet. */
#ifndef XDPLB_FORWARD_IPIP6_H
#define XDPLB_FORWARD_IPIP6_H

#include "forward_frame.h"
#include "forward_outer.h"

static __always_inline enum reason forward_ipip6(struct xdp_md *ctx, const struct packet *packet,
                                                 const struct backend *backend, __u64 hash)
{
	void *outer;
	enum reason reason;

	if (packet->ip_length + IPV6_HEADER > backend->mtu)
		return DROP_TOO_BIG;
	reason = frame_open(ctx, packet, backend, IPV6_HEADER, NET16(ETH_P_IPV6), &outer);
	if (reason == GO_ON)
		outer_write_ipv6(outer, packet, backend, hash, packet->ip_length, outer_protocol(packet));
	return reason;
}

#endif
