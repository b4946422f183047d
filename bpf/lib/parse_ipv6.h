/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* The IPv6 header and the extension headers behind it, up to a maximum number of them. */
#ifndef XDPLB_PARSE_IPV6_H
#define XDPLB_PARSE_IPV6_H

#include <uapi/linux/ipv6.h>

#include "packet.h"

#define EXTENSIONS_MOST 6
#define EXTENSION_LEAST 8 /* bytes of the shortest one */
#define ROUTING_SEGMENTS_LEFT 3
#define EXTENSIONS_BITS 0x3fff /* more than the IPv6 header and as many of the longest ones (2048 bytes) */
#define IPV6_MORE_FRAGMENTS NET16(0x0001)
#define IPV6_FRAGMENT_OFFSET NET16(0xfff8)
#define IPV6_FRAGMENT_INSIDE NET16(8) /* in bytes */

struct fragment_header {
	__u8 next;
	__u8 reserved;
	__be16 offset; /* in the upper 13 bits; the lowest bit says that more fragments follow */
	__be32 id;
};

static __always_inline int extension_is_known(__u8 type)
{
	return type == IPPROTO_HOPOPTS || type == IPPROTO_ROUTING || type == IPPROTO_DSTOPTS ||
	       type == IPPROTO_AH || type == IPPROTO_FRAGMENT;
}

/* Returns the length of an extension header in bytes; the unit of its length field depends on its type. */
static __always_inline __u32 extension_length(__u8 type, __u8 field)
{
	if (type == IPPROTO_FRAGMENT)
		return sizeof(struct fragment_header);
	return type == IPPROTO_AH ? (field + 2) * 4 : (field + 1) * 8;
}

/* Returns why a packet with this extension header, at `place` in their chain, goes no further, or GO_ON: a routing
 * header sends it on to others (RFC 5095; RFC 8200, 4.4), or hop-by-hop options are not directly behind the IPv6 header
 * (4.1).
 */
static __always_inline enum reason extension_check(__u8 type, const __u8 *header, int place)
{
	if (type == IPPROTO_ROUTING && header[ROUTING_SEGMENTS_LEFT])
		return DROP_SOURCE_ROUTE;
	return type == IPPROTO_HOPOPTS && place ? DROP_EXTENSION : GO_ON;
}

/* A fragment header that says "first and last" is ignored (RFC 6946). */
static __always_inline void extension_fragment(const struct fragment_header *header, struct packet *packet)
{
	if ((header->offset & IPV6_FRAGMENT_OFFSET) == IPV6_FRAGMENT_INSIDE)
		packet->fragment = FRAGMENT_INSIDE;
	else if (header->offset & IPV6_FRAGMENT_OFFSET)
		packet->fragment = FRAGMENT_LATER;
	else if (header->offset & IPV6_MORE_FRAGMENTS)
		packet->fragment = FRAGMENT_FIRST;
	else
		return;
	packet->fragment_id = header->id;
}

/* Skips the extension headers up to the transport header, or in a non-first fragment up to the fragment header's end.
 */
static __always_inline enum reason parse_extensions(struct cursor *cursor, struct packet *packet)
{
	enum reason reason;
	__u32 length;

	for (int i = 0; i < EXTENSIONS_MOST; i++) {
		__u8 *header = cursor->at;

		if (!extension_is_known(packet->protocol))
			return GO_ON;
		if (packet->transport + EXTENSION_LEAST > packet->ip_length ||
		    cursor->at + EXTENSION_LEAST > cursor->end)
			return DROP_BAD_LENGTH;
		length = extension_length(packet->protocol, header[1]);
		if (packet->transport + length > packet->ip_length)
			return DROP_BAD_LENGTH;
		reason = extension_check(packet->protocol, header, i);
		if (reason != GO_ON)
			return reason;
		if (packet->protocol == IPPROTO_FRAGMENT)
			extension_fragment(cursor->at, packet);
		packet->protocol = header[0];
		packet->transport += length;
		cursor->at += length;
		if (packet_is_later_fragment(packet))
			return GO_ON;
	}
	return extension_is_known(packet->protocol) ? DROP_EXTENSION : GO_ON;
}

/* Whichever extension headers there were, the rest of the program is the same to the verifier. `network` is the IP
 * header.
 */
static __always_inline void parse_blur_extensions(void *network, struct cursor *cursor, struct packet *packet)
{
	packet->transport = packet_blur(packet, packet->transport) & EXTENSIONS_BITS;
	packet->protocol = packet_blur(packet, packet->protocol);
	packet->fragment = packet_blur(packet, packet->fragment);
	packet->fragment_id = packet_blur(packet, packet->fragment_id);
	packet->ip_length = packet_blur(packet, packet->ip_length);
	cursor->at = network + packet->transport;
}

/* The fixed header, with nothing known yet of extension headers. */
static __always_inline void parse_ipv6_fields(const struct ipv6hdr *ip, struct packet *packet)
{
	packet->ip_length = sizeof(*ip) + NET16(ip->payload_len);
	packet->source[0] = read_u64(&ip->saddr);
	packet->source[1] = read_u64((void *)&ip->saddr + 8);
	packet->destination[0] = read_u64(&ip->daddr);
	packet->destination[1] = read_u64((void *)&ip->daddr + 8);
	packet->tos = ip->priority << 4 | ip->flow_lbl[0] >> 4;
	packet->ttl = ip->hop_limit;
	packet->protocol = ip->nexthdr;
	packet->transport = sizeof(*ip);
}

static __always_inline enum reason parse_ipv6(struct cursor *cursor, struct packet *packet)
{
	struct ipv6hdr *ip = cursor->at;
	enum reason reason;

	if ((void *)(ip + 1) > cursor->end || ip->version != 6)
		return PASS_MALFORMED;
	parse_ipv6_fields(ip, packet);
	packet->fragment_id = 0;
	if (packet->ip_length > cursor->end - cursor->at)
		return DROP_BAD_LENGTH;
	cursor->at = ip + 1;
	if (packet->protocol == IPPROTO_TCP || packet->protocol == IPPROTO_UDP)
		return GO_ON;
	reason = parse_extensions(cursor, packet);
	parse_blur_extensions(ip, cursor, packet);
	return reason;
}

#endif
