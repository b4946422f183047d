/* Packets that must not come out of a tunnel.
 *
 * The tunnel ends at the NIC, so to the stack its inner packets come from the link. Packets that only neighbours on the
 * link may send, such as VRRP, OSPF or neighbour discovery, must not get in from farther away.
 */
#ifndef XDPLB_DECAP_MARTIAN_H
#define XDPLB_DECAP_MARTIAN_H

#include "martian.h"
#include "packet.h"

#define NEIGHBOUR_HOPS 255         /* a hop limit of 255 proves that no router forwarded it (RFC 4861) */
#define ICMPV6_DISCOVERY_FIRST 133 /* router solicitation */
#define ICMPV6_DISCOVERY_LAST 137  /* redirect */
#define IPV6_MAPPED 0xffff0000ULL  /* second word of ::ffff:0:0/96, without the IPv4 address */

static __always_inline int martian_ipv4(const struct iphdr *ip)
{
	__u8 first = ip->daddr; /* in network order: the lowest byte is the first one */

	return first == 0 || first == 127 || first >= 224;
}

/* Whether this is neighbour discovery, or may be behind an extension header. */
static __always_inline int martian_may_discover(const struct ipv6hdr *ip, void *end)
{
	const __u8 *type = (const __u8 *)(ip + 1);

	if (ip->hop_limit != NEIGHBOUR_HOPS)
		return 0;
	if (ip->nexthdr == IPPROTO_ICMPV6)
		return (void *)(type + 1) > end ||
		       (*type >= ICMPV6_DISCOVERY_FIRST && *type <= ICMPV6_DISCOVERY_LAST);
	return ip->nexthdr == IPPROTO_HOPOPTS || ip->nexthdr == IPPROTO_ROUTING ||
	       ip->nexthdr == IPPROTO_DSTOPTS || ip->nexthdr == IPPROTO_AH;
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

	return (first & 0xff) == 0xff || martian_is_link_local(first) || martian_is_link_local(source) ||
	       martian_is_low(first, second) || martian_may_discover(ip, end);
}

#endif
