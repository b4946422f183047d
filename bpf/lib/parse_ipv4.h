/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* The IPv4 header. */
#ifndef XDPLB_PARSE_IPV4_H
#define XDPLB_PARSE_IPV4_H

#include "ipv4_options.h"
#include "packet.h"

#define IP_MORE_FRAGMENTS NET16(0x2000)
#define IP_FRAGMENT_OFFSET NET16(0x1fff)
#define IP_FRAGMENT_INSIDE NET16(1) /* in units of 8 bytes */

/* A header that is not of the usual 20 bytes; the frame has the whole packet. A source route is refused (RFC 7126). */
static __always_inline enum reason parse_options(const struct cursor *cursor, const struct packet *packet,
                                                 __u32 header)
{
	if (header < IPV4_HEADER)
		return DROP_BAD_LENGTH;
	return options_have_route(cursor->at, cursor->end, packet_blur(packet, header),
	                          packet->frame_length >> 16)
	               ? DROP_SOURCE_ROUTE
	               : GO_ON;
}

/* What every header has, whatever follows its first 20 bytes. */
static __always_inline void parse_ipv4_fields(const struct iphdr *ip, struct packet *packet)
{
	packet->ip_length = NET16(ip->tot_len);
	packet->source[0] = ip->saddr;
	packet->source[1] = 0;
	packet->destination[0] = ip->daddr;
	packet->destination[1] = 0;
	packet->tos = ip->tos;
	packet->ttl = ip->ttl;
	packet->protocol = ip->protocol;
}

static __always_inline enum reason parse_ipv4(struct cursor *cursor, struct packet *packet)
{
	struct iphdr *ip = cursor->at;
	__u32 header;
	enum reason reason;

	if ((void *)(ip + 1) > cursor->end || ip->version != 4)
		return PASS_MALFORMED;
	header = ip->ihl * 4;
	parse_ipv4_fields(ip, packet);
	packet->fragment_id = ip->id;
	if (packet->ip_length < header || packet->ip_length > cursor->end - cursor->at)
		return DROP_BAD_LENGTH;
	if (header != IPV4_HEADER) {
		reason = parse_options(cursor, packet, header);
		if (reason != GO_ON)
			return reason;
	}
	if (ip->frag_off & IP_FRAGMENT_OFFSET)
		packet->fragment = (ip->frag_off & IP_FRAGMENT_OFFSET) == IP_FRAGMENT_INSIDE ? FRAGMENT_INSIDE
		                                                                             : FRAGMENT_LATER;
	else if (ip->frag_off & IP_MORE_FRAGMENTS)
		packet->fragment = FRAGMENT_FIRST;
	cursor->at += header;
	packet->transport = header;
	return GO_ON;
}

#endif
