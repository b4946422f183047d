/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Addresses that no packet from the network comes from (RFC 1122, 3.2.1.3; RFC 4291, 2.5 and 2.7).
 *
 * They are in network order, so that the lowest byte is the first one. 169.254.0.0/16 is not among them: routers whose
 * links are numbered with it send ICMP errors from there, which path MTU discovery needs.
 */
#ifndef XDPLB_MARTIAN_H
#define XDPLB_MARTIAN_H

/* 0/8, 127/8, 224/4 and 240/4. */
static __always_inline int martian_source4(__u32 source)
{
	__u8 first = source;

	return first == 0 || first == 127 || first >= 224;
}

/* `upper` is the first half: ff00::/8, and ::/64, which has the unspecified address, loopback, and what looks like IPv4
 * addresses.
 */
static __always_inline int martian_source6(__u64 upper)
{
	return (upper & 0xff) == 0xff || upper == 0;
}

/* fe80::/10: may not go to another link (RFC 4291, 2.5.6). */
static __always_inline int martian_is_link_local(__u64 upper)
{
	return (upper & 0xc0ff) == 0x80fe;
}

#endif
