/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* The answer to a ping. Only what differs from the request is written, and checksums are updated by the difference. */
#ifndef XDPLB_ECHO_H
#define XDPLB_ECHO_H

#include "answer.h"
#include "bytes.h"
#include "checksum.h"
#include "icmp.h"
#include "packet.h"

#define ICMP_CHECKSUM_AT 2

#define IPV4_TTL_AT 8 /* offset of the word with TTL and protocol */
#define IPV4_CHECKSUM_AT 10
#define IPV4_SOURCE_AT 12
#define IPV6_HOP_LIMIT_AT 7
#define IPV6_SOURCE_AT 8

/* The type falls from 8 to 0, so the checksum grows by 8. It is added rather than updated by RFC 1624's equation, which
 * would give 0 where the rest of the message is all zeros and the checksum must be 0xffff.
 */
static __always_inline __u16 echo_checksum4(__u16 checksum)
{
	__u32 sum = (__u32)checksum + ECHO4_REQUEST - ECHO4_REPLY;

	return (sum & 0xffff) + (sum >> 16);
}

static __always_inline void echo_write4(void *ip, const struct packet *packet)
{
	__u16 *ttl = ip + IPV4_TTL_AT, *header_checksum = ip + IPV4_CHECKSUM_AT;
	__u16 *icmp = ip + IPV4_HEADER, *checksum = ip + IPV4_HEADER + ICMP_CHECKSUM_AT;
	__u16 answered = ANSWER_TTL | IPPROTO_ICMP << 8;

	*header_checksum = checksum_update(*header_checksum, *ttl, answered);
	*ttl = answered;
	write_u64(ip + IPV4_SOURCE_AT, packet->destination[0] | packet->source[0] << 32);
	*icmp = ECHO4_REPLY;
	*checksum = echo_checksum4(*checksum);
}

static __always_inline void echo_write6(void *ip, const struct packet *packet)
{
	__u16 *icmp = ip + IPV6_HEADER, *checksum = ip + IPV6_HEADER + ICMP_CHECKSUM_AT;

	*(__u8 *)(ip + IPV6_HOP_LIMIT_AT) = ANSWER_TTL;
	write_u64(ip + IPV6_SOURCE_AT, packet->destination[0]);
	write_u64(ip + IPV6_SOURCE_AT + 8, packet->destination[1]);
	write_u64(ip + IPV6_SOURCE_AT + 16, packet->source[0]);
	write_u64(ip + IPV6_SOURCE_AT + 24, packet->source[1]);
	*icmp = ECHO6_REPLY;
	*checksum = checksum_update(*checksum, ECHO6_REQUEST, ECHO6_REPLY);
}

/* Makes the request its answer, or returns why there is none. */
static __always_inline enum reason echo_answer(struct xdp_md *ctx, const struct packet *packet)
{
	void *frame = (void *)(long)ctx->data;
	void *ip = frame + packet_network(packet);
	__u32 header = packet->version == 6 ? IPV6_HEADER : IPV4_HEADER;
	struct answer_macs macs;

	if (frame + ETH_HLEN > (void *)(long)ctx->data_end ||
	    ip + header + ICMP_HEADER > (void *)(long)ctx->data_end)
		return DROP_INTERNAL;
	macs = answer_macs_of(frame);
	if (!answer_has_sender(macs))
		return DROP_SOURCE_MAC;
	answer_write_macs(frame, macs);
	if (packet->version == 6)
		echo_write6(ip, packet);
	else
		echo_write4(ip, packet);
	return ANSWER_ECHO;
}

#endif
