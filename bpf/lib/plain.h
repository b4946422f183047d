/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Plain packets, which are nearly all: untagged, not a fragment, and TCP or UDP right behind an IP header without options;
 * where tunnels end at the balancer, not GUE.
 *
 * The program is compiled once more for these alone, with what they have in common as constants. It is the same program:
 * what is not plain, or malformed, goes the general way, with the same result as a plain packet would have there.
 */
#ifndef XDPLB_PLAIN_H
#define XDPLB_PLAIN_H

#include "bytes.h"
#include "gue.h"
#include "packet.h"
#include "parse.h"

#define PLAIN4_BITS                                                                                          \
	0xff3f0000000000ffULL /* of the header's first 8 bytes: version and IHL, MF and fragment offset */
#define PLAIN4 0x45ULL

/* Fills in what the TCP or UDP header tells; `payload` is that of the IP packet. Returns whether the packet is plain. */
static __always_inline int plain_transport(const void *transport, struct packet *packet, __s64 payload)
{
	__s64 length;

	packet->ports = read_u32(transport);
	if (packet->protocol == IPPROTO_TCP) {
		length = (*(__u8 *)(transport + 12) >> 4) * 4;
		packet->tcp_flags = *(__u8 *)(transport + 13);
		return length >= TCP_HEADER && length <= payload;
	}
	length = NET16(*(__be16 *)(transport + 4));
	packet->tcp_flags = 0;
#ifdef WITH_DECAP
	if (packet->ports >> 16 == NET16(GUE_PORT))
		return 0;
#endif
	return packet->protocol == IPPROTO_UDP && length >= UDP_HEADER && length <= payload;
}

/* Whether the frame has an untagged Ethernet header to one host with this type, and `length` bytes behind it. */
static __always_inline int plain_ethernet(const struct cursor *cursor, __be16 type, __u32 length)
{
	return cursor->at + ETH_HLEN + length <= cursor->end &&
	       read_u16(cursor->at + ETH_HLEN - sizeof(type)) == type && !(*(__u8 *)cursor->at & MAC_GROUP);
}

static __always_inline int plain_ipv4(const struct cursor *cursor, struct packet *packet)
{
	const struct iphdr *ip = cursor->at + ETH_HLEN;

	if (!plain_ethernet(cursor, NET16(ETH_P_IP), IPV4_HEADER + TCP_HEADER) ||
	    (read_u64(ip) & PLAIN4_BITS) != PLAIN4 || ip->protocol == IPPROTO_ICMP)
		return 0;
	parse_ipv4_fields(ip, packet);
	packet->transport = IPV4_HEADER;
	return packet->ip_length <= packet->plain_length - ETH_HLEN &&
	       plain_transport(ip + 1, packet, (__s64)packet->ip_length - IPV4_HEADER);
}

#ifdef WITH_IPV6
static __always_inline int plain_ipv6(const struct cursor *cursor, struct packet *packet)
{
	const struct ipv6hdr *ip = cursor->at + ETH_HLEN;

	if (!plain_ethernet(cursor, NET16(ETH_P_IPV6), IPV6_HEADER + TCP_HEADER) || ip->version != 6 ||
	    ip->nexthdr > IPPROTO_UDP)
		return 0;
	parse_ipv6_fields(ip, packet);
	return packet->ip_length <= packet->plain_length - ETH_HLEN &&
	       plain_transport(ip + 1, packet, (__s64)packet->ip_length - IPV6_HEADER);
}
#endif

/* Fills `packet`, whose version and frame length are set, and returns whether it is plain. `cursor` is at the frame. In a
 * program that captures none is: it is about as much to verify as two of others already.
 */
static __always_inline int plain_parse(const struct cursor *cursor, struct packet *packet)
{
#ifdef WITH_CAPTURE
	return 0;
#endif
#ifdef WITH_IPV6
	if (packet->version == 6)
		return plain_ipv6(cursor, packet);
#endif
	return plain_ipv4(cursor, packet);
}

#endif
