/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Packets that must not come out of a tunnel.
 *
 * The tunnel ends at the NIC, so to the stack its inner packets come from the link. Packets that only neighbours on the
 * link may send, such as VRRP, OSPF or neighbour discovery, must not get in from farther away.
 */
#ifndef XDPLB_DECAP_MARTIAN_H
#define XDPLB_DECAP_MARTIAN_H

#include "martian.h"
#include "packet.h"
#include "parse_ipv6.h"

#define NEIGHBOUR_HOPS 255         /* a hop limit of 255 proves that no router forwarded it (RFC 4861) */
#define ICMPV6_DISCOVERY_FIRST 133 /* router solicitation */
#define ICMPV6_DISCOVERY_LAST 137  /* redirect */
#define IPV6_MAPPED 0xffff0000ULL  /* second word of ::ffff:0:0/96, without the IPv4 address */

static __always_inline int martian_ipv4(const struct iphdr *ip)
{
	return martian_source4(ip->saddr) || martian_source4(ip->daddr);
}

/* Whether this is neighbour discovery, or may be: where the ICMPv6 header is not found. It cannot be in any but the first
 * fragment, and the stack heeds none that is cut into pieces (RFC 6980), but that can be switched off.
 */
static __always_inline int martian_may_discover(const struct ipv6hdr *ip, void *end)
{
	__u64 zero =
		(__u64)(end - (void *)ip) >> 32; /* which the verifier does not know (docs/verifier.md) */
	__u64 at = sizeof(*ip);
	__u8 type = ip->nexthdr;

	if (ip->hop_limit != NEIGHBOUR_HOPS)
		return 0;
	for (int i = 0; i <= EXTENSIONS_MOST; i++) {
		const __u8 *header = (const void *)ip + (at & EXTENSIONS_BITS);

		asm volatile("" : "+r"(header)); /* one pointer: what is compared is what is read from */
		if (type != IPPROTO_ICMPV6 && !extension_is_known(type))
			return 0;
		if ((void *)header + EXTENSION_LEAST > end)
			return 1;
		if (type == IPPROTO_ICMPV6)
			return *header >= ICMPV6_DISCOVERY_FIRST && *header <= ICMPV6_DISCOVERY_LAST;
		if (type == IPPROTO_FRAGMENT &&
		    ((const struct fragment_header *)header)->offset & IPV6_FRAGMENT_OFFSET)
			return 0;
		at = (at + extension_length(type, header[1])) ^ zero;
		type = header[0];
	}
	return 1;
}

/* Unspecified, loopback and IPv4-mapped addresses. */
static __always_inline int martian_is_low(__u64 first, __u64 second)
{
	return first == 0 && (second == 0 || second == 1ULL << 56 || (second & 0xffffffff) == IPV6_MAPPED);
}

static __always_inline int martian_ipv6(const struct ipv6hdr *ip, void *end)
{
	__u64 source = read_u64(&ip->saddr), first = read_u64(&ip->daddr),
	      second = read_u64((const void *)&ip->daddr + 8);

	return martian_source6(source) || (first & 0xff) == 0xff || martian_is_link_local(first) ||
	       martian_is_link_local(source) || martian_is_low(first, second) ||
	       martian_may_discover(ip, end);
}

#endif
