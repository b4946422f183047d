/* ICMP and ICMPv6: echo requests to a VIP's address are answered, errors about a connection go where the connection
 * goes, and the rest is the host's.
 */
#ifndef XDPLB_ICMP_H
#define XDPLB_ICMP_H

#include "echo.h"
#include "packet.h"
#include "parse_ipv6.h"

#define ICMP4_UNREACHABLE 3
#define ICMP4_TIME_EXCEEDED 11
#define ICMP4_PARAMETER_PROBLEM 12
#define ICMP6_UNREACHABLE 1
#define ICMP6_PARAMETER_PROBLEM 4 /* the last one; packet too big and time exceeded lie between */

#define QUOTED_TRANSPORT 8 /* of TCP or UDP: what every router quotes (RFC 792) */
#define QUOTED_OFFSET NET16(0x1fff)

static __always_inline int icmp_is_error(__u8 version, __u8 type)
{
	if (version == 6)
		return type >= ICMP6_UNREACHABLE && type <= ICMP6_PARAMETER_PROBLEM;
	return type == ICMP4_UNREACHABLE || type == ICMP4_TIME_EXCEEDED || type == ICMP4_PARAMETER_PROBLEM;
}

/* Reads the quoted IPv4 header at `ip`, of which 20 bytes are there, turned round. Returns its length, 0 if the packet
 * is none that has ports, or not from whom the error is told: it would carry forged ones to hosts that are not ours.
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

/* The same of an IPv6 header, of which 40 bytes are there. A datagram that its sender had to cut has a fragment header
 * behind it; the first one of them has the ports.
 */
static __always_inline __u32 icmp_read_quote6(const void *ip, const void *end, struct packet *packet)
{
	const struct fragment_header *fragment = ip + IPV6_HEADER;
	const __u8 *bytes = ip;

	if (bytes[0] >> 4 != 6 || load_u64(ip + 8) != packet->destination[0] ||
	    load_u64(ip + 16) != packet->destination[1])
		return 0;
	packet->protocol = bytes[6];
	packet->source[0] = load_u64(ip + 24);
	packet->source[1] = load_u64(ip + 32);
	if (packet->protocol != IPPROTO_FRAGMENT)
		return IPV6_HEADER;
	if ((void *)(fragment + 1) > end || fragment->offset & IPV6_FRAGMENT_OFFSET)
		return 0;
	packet->protocol = fragment->next;
	return IPV6_HEADER + sizeof(*fragment);
}

/* `cursor` stands at the quoted IP header, `length` is that of the quote. The quoted packet is one that a VIP has sent:
 * turned round, it is one of those that the VIP is sent.
 */
static __always_inline enum reason icmp_parse_quote(const struct cursor *cursor, struct packet *packet,
                                                    __u32 length)
{
	const void *ip = cursor->at, *transport;
	__u32 header = packet->version == 6 ? IPV6_HEADER : IPV4_HEADER, ports;

	if (ip + header > cursor->end)
		return PASS_NOT_TCP_UDP;
	header = packet->version == 6 ? icmp_read_quote6(ip, cursor->end, packet)
	                              : icmp_read_quote4(ip, packet);
	transport = ip + header;
	if (!header || header + QUOTED_TRANSPORT > length || transport + QUOTED_TRANSPORT > cursor->end)
		return PASS_NOT_TCP_UDP;
	if (packet->protocol != IPPROTO_TCP && packet->protocol != IPPROTO_UDP)
		return PASS_NOT_TCP_UDP;
	ports = load_u32(transport);
	packet->ports = ports << 16 | ports >> 16;
	packet->tcp_flags = 0;
	packet->icmp_error = 1;
	return GO_ON;
}

/* `cursor` stands at the ICMP header. Returns GO_ON for an error about one of our connections, which `packet` then is
 * about; ANSWER_ECHO if the frame now is an answer; else why it stops here.
 */
static __always_inline enum reason icmp_parse(struct xdp_md *ctx, const struct cursor *cursor,
                                              struct packet *packet)
{
	struct cursor quote = {cursor->at + ICMP_HEADER, cursor->end};
	__u32 length = packet->ip_length - packet->transport;
	__u16 type;

	if (packet->fragment != FRAGMENT_NONE || length < ICMP_HEADER || quote.at > quote.end)
		return PASS_NOT_TCP_UDP;
	type = *(__u16 *)cursor->at;
	if (echo_is_request(packet, type))
		return echo_answer(ctx, packet);
	if (!icmp_is_error(packet->version, type))
		return PASS_NOT_TCP_UDP;
	return icmp_parse_quote(&quote, packet, length - ICMP_HEADER);
}

#endif
