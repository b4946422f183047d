/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* The ECN field at the end of a tunnel (RFC 6040). */
#ifndef XDPLB_DECAP_ECN_H
#define XDPLB_DECAP_ECN_H

#include <uapi/linux/ipv6.h>

#include "checksum.h"
#include "packet.h"

#define ECN_BITS 0x03
#define ECN_NONE 0x00 /* not ECN-capable */
#define ECN_ECT1 0x01
#define ECN_ECT0 0x02
#define ECN_CE 0x03

#define IPV6_ECN_SHIFT 4 /* in the header's second byte, below the traffic class's upper half */

static __always_inline __u8 ecn_of_ipv6(const struct ipv6hdr *ip)
{
	return *((const __u8 *)ip + 1) >> IPV6_ECN_SHIFT & ECN_BITS;
}

/* RFC 6040, figure 4. The inner ECN field gets the congestion mark of the outer one; DSCP stays the inner one. */
static __always_inline __u8 ecn_merged(__u8 outer, __u8 inner)
{
	if (inner == ECN_NONE || inner == ECN_CE)
		return inner;
	return outer == ECN_CE || outer == ECN_ECT1 ? outer : inner;
}

static __always_inline int ecn_is_lost(__u8 outer, __u8 inner)
{
	return outer == ECN_CE && inner == ECN_NONE;
}

static __always_inline void ecn_set_ipv4(struct iphdr *ip, __u8 ecn)
{
	__u16 *first = (__u16 *)ip; /* version, IHL and TOS: the checksum's unit */
	__u16 before = *first;

	if (ecn == (ip->tos & ECN_BITS))
		return;
	ip->tos = (ip->tos & ~ECN_BITS) | ecn;
	ip->check = checksum_update(ip->check, before, *first);
}

static __always_inline void ecn_set_ipv6(struct ipv6hdr *ip, __u8 ecn)
{
	__u8 *second = (__u8 *)ip + 1;

	*second = (*second & ~(ECN_BITS << IPV6_ECN_SHIFT)) | ecn << IPV6_ECN_SHIFT;
}

#endif
