/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* From a frame to where its inner packet begins: IPv4 or IPv6 in IPv4 or IPv6, directly or in GUE. Backends have it, and
 * the balancer for tunnels that end at itself.
 *
 * Each tunnel_parse_* function starts at the cursor, moves it behind its header and returns DECAP_UNWRAPPED, or why the
 * frame is not unwrapped. Nothing is written.
 */
#ifndef XDPLB_DECAP_PARSE_H
#define XDPLB_DECAP_PARSE_H

#include "decap_ecn.h"
#include "decap_reasons.h"
#include "decap_udp_sum.h"
#include "gue.h"
#include "header_sum.h"
#include "martian.h"
#include "packet.h"
#include "tunnel_ends.h"

#define TUNNEL_HEADER_MASK 0x7c     /* a multiple of 4, at most 60 + 8 + 4: bounds for the verifier */
#define TUNNEL_MAPPED NET32(0xffff) /* the third word of an IPv4 address as ::ffff:a.b.c.d */

#define IP_FRAGMENT NET16(0x3fff) /* a fragment: more follow, or it is not the first one */

#define GUE_VERSION(first) ((first) >> 6)
#define GUE_WITH_HEADER 0 /* 4 bytes between UDP and the packet */
#define GUE_DIRECT 1      /* the packet follows UDP: its IP version, 4 or 6, begins with these bits */

struct gue_header {
	__u8 version_length; /* version, control bit, words of optional fields */
	__u8 protocol;
	__be16 flags;
};

struct udp_header {
	__be16 source;
	__be16 destination;
	__be16 length;
	__be16 check;
};

struct tunnel {
	__u32 header;    /* bytes to cut: the outer IP header, and UDP and GUE behind it */
	__u32 room;      /* bytes of the outer packet behind them */
	__u32 addresses; /* the sum of the outer addresses' words, for a UDP checksum */
	__u8 outer_ecn;  /* its ECN field */
	__u8 protocol;   /* what follows: IPPROTO_IPIP or IPPROTO_IPV6; IPPROTO_UDP until that is parsed */
	__u8 version;    /* of the inner IP packet */
};

/* Whether a packet of this protocol may be in a tunnel. */
static __always_inline int tunnel_has_protocol(__u8 protocol)
{
	return protocol == IPPROTO_IPIP || protocol == IPPROTO_IPV6 || protocol == IPPROTO_UDP;
}

static __always_inline enum decap_reason tunnel_find_ipv4(const struct cursor *cursor,
                                                          struct tunnel_ends *ends)
{
	const struct iphdr *ip = cursor->at;

	if ((void *)(ip + 1) > cursor->end)
		return DECAP_PASS_MALFORMED;
	if (!tunnel_has_protocol(ip->protocol))
		return DECAP_PASS_OTHER;
	ends->to[0] = ends->to[1] = ends->from[0] = ends->from[1] = 0;
	ends->to[2] = ends->from[2] = TUNNEL_MAPPED;
	ends->to[3] = ip->daddr;
	ends->from[3] = ip->saddr;
	return DECAP_UNWRAPPED;
}

/* Those of a fragment are found too, whatever is in it. */
static __always_inline enum decap_reason tunnel_find_ipv6(const struct cursor *cursor,
                                                          struct tunnel_ends *ends)
{
	const struct ipv6hdr *ip = cursor->at;

	if ((void *)(ip + 1) > cursor->end)
		return DECAP_PASS_MALFORMED;
	if (!tunnel_has_protocol(ip->nexthdr) && ip->nexthdr != IPPROTO_FRAGMENT)
		return DECAP_PASS_OTHER;
	__builtin_memcpy(ends->to, &ip->daddr, sizeof(ends->to));
	__builtin_memcpy(ends->from, &ip->saddr, sizeof(ends->from));
	return DECAP_UNWRAPPED;
}

/* Finds the ends of what may be a tunnel, in a packet of this Ethernet type at the cursor. Whether they are those of a
 * tunnel of ours is for the caller to say, before tunnel_parse.
 */
static __always_inline enum decap_reason tunnel_find(const struct cursor *cursor, __be16 type,
                                                     struct tunnel_ends *ends)
{
	if (type == NET16(ETH_P_IP))
		return tunnel_find_ipv4(cursor, ends);
	return type == NET16(ETH_P_IPV6) ? tunnel_find_ipv6(cursor, ends) : DECAP_PASS_OTHER;
}

/* Returns the sum of a 64-bit value's 16-bit words. */
static __always_inline __u32 tunnel_words(__u64 value)
{
	return checksum_words(value) + checksum_words(value >> 32);
}

static __always_inline enum decap_reason tunnel_check_source4(const struct iphdr *ip)
{
	return martian_source4(ip->saddr) || ip->saddr == ip->daddr ? DECAP_DROP_MARTIAN : DECAP_UNWRAPPED;
}

/* What the stack looks at before it takes a packet out of a tunnel: RFC 1122, 3.2.1.2 and 3.2.1.3, and RFC 7126. `cursor`
 * is at the header of `length` bytes, all of them in the frame.
 */
#ifdef WITH_DECAP
/* No end of a tunnel sends options, and here they would take half as much to verify as all that a program without features
 * does (docs/verifier.md).
 */
static __always_inline enum decap_reason tunnel_check_ipv4(const struct cursor *cursor, __u32 length)
{
	if (length != IPV4_HEADER)
		return DECAP_PASS_MALFORMED;
	return header_sum_is_right(cursor->at, 0) ? tunnel_check_source4(cursor->at)
	                                          : DECAP_DROP_BAD_CHECKSUM;
}
#else
static __always_inline enum decap_reason tunnel_check_ipv4(const struct cursor *cursor, __u32 length)
{
	const struct iphdr *ip = cursor->at;
	__u64 zero = (__u64)(cursor->end - cursor->at) >>
	             32; /* which the verifier does not know (docs/verifier.md) */
	__u64 options = 0;

	length ^= zero;
	asm volatile("" : "+r"(length));
	if (length != IPV4_HEADER)
		options = header_sum_options(ip, cursor->end, length);
	if (!header_sum_is_right(ip, options))
		return DECAP_DROP_BAD_CHECKSUM;
	if (length != IPV4_HEADER && options_have_route(cursor->at, cursor->end, length, zero))
		return DECAP_DROP_SOURCE_ROUTE;
	return tunnel_check_source4(ip);
}
#endif

static __always_inline enum decap_reason tunnel_parse_ipv4(struct cursor *cursor, struct tunnel *tunnel)
{
	struct iphdr *ip = cursor->at;
	enum decap_reason reason;
	__u32 length;

	if ((void *)(ip + 1) > cursor->end)
		return DECAP_PASS_MALFORMED;
	tunnel->protocol = ip->protocol;
	tunnel->header = ip->ihl * 4;
	tunnel->outer_ecn = ip->tos & ECN_BITS;
	length = NET16(ip->tot_len);
	if (ip->frag_off & IP_FRAGMENT)
		return DECAP_PASS_FRAGMENT;
	if (ip->version != 4 || tunnel->header < sizeof(*ip) || length < tunnel->header ||
	    length > cursor->end - cursor->at)
		return DECAP_PASS_MALFORMED;
	reason = tunnel_check_ipv4(cursor, tunnel->header);
	if (reason != DECAP_UNWRAPPED)
		return reason;
	tunnel->addresses = checksum_words(ip->saddr) + checksum_words(ip->daddr);
	tunnel->room = length - tunnel->header;
	cursor->at += tunnel->header;
	return DECAP_UNWRAPPED;
}

/* Packets with extension headers are passed to the stack. */
static __always_inline enum decap_reason tunnel_parse_ipv6(struct cursor *cursor, struct tunnel *tunnel)
{
	struct ipv6hdr *ip = cursor->at;
	__u64 source[2], destination[2];

	if ((void *)(ip + 1) > cursor->end)
		return DECAP_PASS_MALFORMED;
	source[0] = read_u64(&ip->saddr);
	source[1] = read_u64((void *)&ip->saddr + 8);
	destination[0] = read_u64(&ip->daddr);
	destination[1] = read_u64((void *)&ip->daddr + 8);
	tunnel->protocol = ip->nexthdr;
	if (ip->nexthdr == IPPROTO_FRAGMENT)
		return DECAP_PASS_FRAGMENT;
	tunnel->header = sizeof(*ip);
	tunnel->outer_ecn = ecn_of_ipv6(ip);
	tunnel->room = NET16(ip->payload_len);
	if (ip->version != 6 || tunnel->room > cursor->end - (void *)(ip + 1))
		return DECAP_PASS_MALFORMED;
	if (martian_source6(source[0]) || (source[0] == destination[0] && source[1] == destination[1]))
		return DECAP_DROP_MARTIAN;
	tunnel->addresses = tunnel_words(source[0]) + tunnel_words(source[1]) + tunnel_words(destination[0]) +
	                    tunnel_words(destination[1]);
	cursor->at = ip + 1;
	return DECAP_UNWRAPPED;
}

/* The GUE header without optional fields, which some senders use. */
static __always_inline enum decap_reason tunnel_parse_gue(struct cursor *cursor, struct tunnel *tunnel)
{
	struct gue_header *gue = cursor->at;

	if (tunnel->room < sizeof(*gue) || (void *)(gue + 1) > cursor->end || gue->version_length ||
	    gue->flags)
		return DECAP_PASS_MALFORMED;
	tunnel->protocol = gue->protocol;
	tunnel->header += sizeof(*gue);
	tunnel->room -= sizeof(*gue);
	cursor->at = gue + 1;
	return DECAP_UNWRAPPED;
}

/* A UDP checksum that is there is checked (RFC 1122, 4.1.3.4); mostly there is none. */
static __always_inline enum decap_reason tunnel_parse_udp(struct cursor *cursor, struct tunnel *tunnel)
{
	struct udp_header *udp = cursor->at;
	__u32 length;
	__u8 *inner;

	if (tunnel->room < sizeof(*udp) || (void *)(udp + 1) > cursor->end)
		return DECAP_PASS_MALFORMED;
	if (udp->destination != NET16(GUE_PORT))
		return DECAP_PASS_OTHER;
	length = NET16(udp->length);
	if (length <= sizeof(*udp) || length > tunnel->room)
		return DECAP_PASS_MALFORMED;
	if (udp->check &&
	    !udp_sum_is_right(udp, cursor->end, length, tunnel->addresses + NET16(IPPROTO_UDP) + udp->length))
		return DECAP_DROP_BAD_CHECKSUM;
	tunnel->header += sizeof(*udp);
	tunnel->room = length - sizeof(*udp);
	cursor->at = inner = (void *)(udp + 1);
	if ((void *)(inner + 1) > cursor->end)
		return DECAP_PASS_MALFORMED;
	if (GUE_VERSION(*inner) == GUE_WITH_HEADER)
		return tunnel_parse_gue(cursor, tunnel);
	tunnel->protocol = *inner >> 4 == 4 ? IPPROTO_IPIP : IPPROTO_IPV6;
	return GUE_VERSION(*inner) == GUE_DIRECT ? DECAP_UNWRAPPED : DECAP_PASS_MALFORMED;
}

/* Whether the inner packet has the version that its tunnel says, and fits its own lengths. */
static __always_inline enum decap_reason tunnel_parse_inner(struct cursor *cursor, struct tunnel *tunnel)
{
	struct iphdr *ip = cursor->at;
	struct ipv6hdr *ip6 = cursor->at;
	__u32 length;

	if (tunnel->protocol == IPPROTO_IPIP) {
		tunnel->version = 4;
		if ((void *)(ip + 1) > cursor->end || ip->version != 4 || ip->ihl < 5)
			return DECAP_PASS_MALFORMED;
		length = NET16(ip->tot_len);
		return length >= ip->ihl * 4 && length <= tunnel->room ? DECAP_UNWRAPPED
		                                                       : DECAP_PASS_MALFORMED;
	}
	tunnel->version = 6;
	if (tunnel->protocol != IPPROTO_IPV6 || (void *)(ip6 + 1) > cursor->end || ip6->version != 6)
		return DECAP_PASS_MALFORMED;
	return sizeof(*ip6) + NET16(ip6->payload_len) <= tunnel->room ? DECAP_UNWRAPPED
	                                                              : DECAP_PASS_MALFORMED;
}

/* However the outer headers, which begin at `start`, were parsed, the rest of the program is the same to the verifier
 * (docs/verifier.md).
 */
static __always_inline void tunnel_blur(void *start, struct cursor *cursor, struct tunnel *tunnel)
{
	__u64 zero = (__u64)(cursor->end - start) >> 32; /* which the verifier does not know */
	__u64 lengths = (tunnel->header | (__u64)tunnel->room << 32) ^ zero;
	__u64 rest = (tunnel->protocol | tunnel->outer_ecn << 8) ^ zero;
	__u64 addresses = tunnel->addresses ^ zero;

	asm volatile("" : "+r"(lengths), "+r"(rest), "+r"(addresses));
	tunnel->header = lengths & TUNNEL_HEADER_MASK;
	tunnel->room = lengths >> 32;
	tunnel->protocol = rest;
	tunnel->outer_ecn = rest >> 8;
	tunnel->addresses = addresses;
	cursor->at = start + tunnel->header;
}

/* Fills `tunnel` and returns DECAP_UNWRAPPED if a whole packet is in a tunnel there; tunnel_find has found its ends. The
 * cursor is at the outer header, and then at the inner one.
 */
static __always_inline enum decap_reason tunnel_parse(struct cursor *cursor, __be16 type,
                                                      struct tunnel *tunnel)
{
	void *start = cursor->at;
	enum decap_reason reason = type == NET16(ETH_P_IPV6) ? tunnel_parse_ipv6(cursor, tunnel)
	                                                     : tunnel_parse_ipv4(cursor, tunnel);

	if (reason != DECAP_UNWRAPPED)
		return reason;
	tunnel_blur(start, cursor, tunnel);
	if (tunnel->protocol == IPPROTO_UDP) {
		reason = tunnel_parse_udp(cursor, tunnel);
		tunnel_blur(start, cursor, tunnel);
	}
	return reason == DECAP_UNWRAPPED ? tunnel_parse_inner(cursor, tunnel) : reason;
}

#endif
