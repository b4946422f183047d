/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* DR, direct routing: the frame goes to the backend's MAC address, the IP packet is unchanged. */
#ifndef XDPLB_FORWARD_DR_H
#define XDPLB_FORWARD_DR_H

#include "forward_frame.h"

static __always_inline enum reason forward_dr(struct xdp_md *ctx, const struct packet *packet,
                                              const struct backend *backend)
{
	__be16 type = packet->version == 6 ? NET16(ETH_P_IPV6) : NET16(ETH_P_IP);
	void *ip;

	if (packet->ip_length > backend->mtu)
		return DROP_TOO_BIG;
	return frame_open(ctx, packet, backend, 0, type, &ip);
}

#endif
