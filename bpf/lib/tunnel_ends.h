/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* The two ends of a tunnel. */
#ifndef XDPLB_TUNNEL_ENDS_H
#define XDPLB_TUNNEL_ENDS_H

/* Where a packet that may be in a tunnel goes to, and comes from; in network order, and one of IPv4 as ::ffff:a.b.c.d. */
struct tunnel_ends {
	__u32 to[4];
	__u32 from[4];
};

#endif
