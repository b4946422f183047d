/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* ICMP and ICMPv6 as far as packets are classified by it: echo requests, and errors about packets that a VIP has sent.
 */
#ifndef XDPLB_ICMP_H
#define XDPLB_ICMP_H

#include "bytes.h"
#include "gue.h"
#include "packet.h"
#include "parse_ipv6.h"

#define ICMP_HEADER 8

/* Type and code as one word in memory order */
#define ECHO4_REQUEST 8
#define ECHO4_REPLY 0
#define ECHO6_REQUEST 128
#define ECHO6_REPLY 129

#define ICMP4_UNREACHABLE 3
#define ICMP4_TIME_EXCEEDED 11
#define ICMP4_PARAMETER_PROBLEM 12
#define ICMP6_UNREACHABLE 1
#define ICMP6_PARAMETER_PROBLEM 4 /* the last one; packet too big and time exceeded are in between */

#define QUOTED_TRANSPORT 8 /* bytes of TCP or UDP that every router quotes (RFC 792) */
#define QUOTED_OFFSET NET16(0x1fff)

/* `type` is the message's first word. A ping is answered in its plain form: without IPv4 options or IPv6 extension
 * headers.
 */
static __always_inline int icmp_is_ping(const struct packet *packet, __u16 type)
{
	if (packet->version == 6)
		return type == ECHO6_REQUEST && packet->transport == IPV6_HEADER;
	return type == ECHO4_REQUEST && packet->transport == IPV4_HEADER;
}

static __always_inline int icmp_is_error(const struct packet *packet, __u16 first)
{
	__u8 type = first;

	if (packet->version == 6)
		return type >= ICMP6_UNREACHABLE && type <= ICMP6_PARAMETER_PROBLEM;
	return type == ICMP4_UNREACHABLE || type == ICMP4_TIME_EXCEEDED || type == ICMP4_PARAMETER_PROBLEM;
}

/* Reads the addresses and the protocol of the quoted IPv4 header at `ip`, of which 20 bytes are in the frame, turned
 * round. Returns its length, 0 if the quoted packet has no ports or was not sent by the address that is told of the
 * error: a forged error must not reach other hosts.
 */
static __always_inline __u32 icmp_read_quote4(const struct iphdr *ip, struct packet *packet)
{
	if (ip->version != 4 || ip->ihl * 4 < IPV4_HEADER || ip->frag_off & QUOTED_OFFSET ||
	    ip->saddr != packet->destination[0])
		return 0;
	packet->protocol = ip->protocol;
	packet->source[0] = ip->daddr;
	return ip->ihl * 4;
}

/* Returns the length of the quoted IPv6 header at `ip` with its extension headers, 0 if they end the search. Sets the
 * protocol behind them. A datagram that its sender has cut has a fragment header; the first fragment has the ports.
 */
static __always_inline __u32 icmp_skip_extensions(const void *ip, const void *end, struct packet *packet)
{
	__u32 length = IPV6_HEADER;

	for (int i = 0; i < EXTENSIONS_MOST && extension_is_known(packet->protocol); i++) {
		const __u8 *header = ip + length;

		asm volatile("" : "+r"(header)); /* one pointer: what is compared is what is read from */
		if ((void *)header + EXTENSION_LEAST > end ||
		    extension_check(packet->protocol, header, i) != GO_ON)
			return 0;
		if (packet->protocol == IPPROTO_FRAGMENT &&
		    ((const struct fragment_header *)header)->offset & IPV6_FRAGMENT_OFFSET)
			return 0;
		length = (length + extension_length(packet->protocol, header[1])) & EXTENSIONS_BITS;
		packet->protocol = header[0];
	}
	return packet_blur(packet, length) & EXTENSIONS_BITS;
}

/* The same for an IPv6 header, of which 40 bytes are in the frame, and its extension headers. */
static __always_inline __u32 icmp_read_quote6(const void *ip, const void *end, struct packet *packet)
{
	const __u8 *bytes = ip;

	if (bytes[0] >> 4 != 6 || read_u64(ip + 8) != packet->destination[0] ||
	    read_u64(ip + 16) != packet->destination[1])
		return 0;
	packet->protocol = bytes[6];
	packet->source[0] = read_u64(ip + 24);
	packet->source[1] = read_u64(ip + 32);
	return icmp_skip_extensions(ip, end, packet);
}

/* Whether a packet of this protocol has an IP packet in it: the balancer itself may have sent it to a backend. */
static __always_inline int icmp_is_ipip(__u8 protocol)
{
	return protocol == IPPROTO_IPIP || protocol == IPPROTO_IPV6;
}

/* The same for GUE, of an error that was turned round. */
static __always_inline int icmp_is_about_gue(const struct packet *packet)
{
	return packet->protocol == IPPROTO_UDP && (packet->ports & 0xffff) == NET16(GUE_PORT);
}

/* `cursor` is at the IP header that an error quotes, `length` is that of the quote. If it could be of a packet from a
 * VIP, gives `packet` its addresses, ports and protocol turned round, as the client's packets of that flow have them.
 * Returns the quoted packet's protocol, 0 if its first bytes are not there or it was not sent by who is told of it.
 */
static __always_inline __u8 icmp_turn_round(const struct cursor *cursor, struct packet *packet, __u32 length)
{
	const void *ip = cursor->at, *transport;
	__u32 header = packet->version == 6 ? IPV6_HEADER : IPV4_HEADER, ports;

	if (ip + header > cursor->end)
		return 0;
	header = packet->version == 6 ? icmp_read_quote6(ip, cursor->end, packet)
	                              : icmp_read_quote4(ip, packet);
	transport = ip + header;
	if (!header || header + QUOTED_TRANSPORT > length || transport + QUOTED_TRANSPORT > cursor->end)
		return 0;
#ifdef WITH_NAT
	packet->quoted = header;
#endif
	if (packet->protocol == IPPROTO_TCP || packet->protocol == IPPROTO_UDP) {
		ports = read_u32(transport);
		packet->ports = ports << 16 | ports >> 16;
		packet->tcp_flags = 0;
	}
	return packet->protocol;
}

#endif
