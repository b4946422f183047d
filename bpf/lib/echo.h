/* Ping: echo requests to an address that has VIPs are answered, whoever has the address. Of an answer, only what differs
 * from the request is written, and checksums are updated by the difference.
 */
#ifndef XDPLB_ECHO_H
#define XDPLB_ECHO_H

#include "answer.h"
#include "check.h"
#include "checksum.h"
#include "packet.h"
#include "vip.h"

#define ICMP_HEADER 8
#define ICMP_CHECKSUM_AT 2

/* Type and code as one word in memory order */
#define ECHO4_REQUEST 8
#define ECHO4_REPLY 0
#define ECHO6_REQUEST 128
#define ECHO6_REPLY 129

#define IPV4_TTL_AT 8 /* of the word that TTL and protocol are */
#define IPV4_CHECKSUM_AT 10
#define IPV4_SOURCE_AT 12
#define IPV6_HOP_LIMIT_AT 7
#define IPV6_SOURCE_AT 8

/* The type falls from 8 to 0: the checksum grows by 8. Adding, it never becomes 0, which would be wrong for a message
 * of nothing but zeros.
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
	store_u64(ip + IPV4_SOURCE_AT, packet->destination[0] | packet->source[0] << 32);
	*icmp = ECHO4_REPLY;
	*checksum = echo_checksum4(*checksum);
}

static __always_inline void echo_write6(void *ip, const struct packet *packet)
{
	__u16 *icmp = ip + IPV6_HEADER, *checksum = ip + IPV6_HEADER + ICMP_CHECKSUM_AT;

	*(__u8 *)(ip + IPV6_HOP_LIMIT_AT) = ANSWER_TTL;
	store_u64(ip + IPV6_SOURCE_AT, packet->destination[0]);
	store_u64(ip + IPV6_SOURCE_AT + 8, packet->destination[1]);
	store_u64(ip + IPV6_SOURCE_AT + 16, packet->source[0]);
	store_u64(ip + IPV6_SOURCE_AT + 24, packet->source[1]);
	*icmp = ECHO6_REPLY;
	*checksum = checksum_update(*checksum, ECHO6_REQUEST, ECHO6_REPLY);
}

/* Whether this ICMP message, whose first word is `type`, is one that is answered here if the address has VIPs. */
static __always_inline int echo_is_request(const struct packet *packet, __u16 type)
{
	if (packet->version == 6)
		return type == ECHO6_REQUEST && packet->transport == IPV6_HEADER;
	return type == ECHO4_REQUEST && packet->transport == IPV4_HEADER;
}

/* Turns the request into its answer, or returns why there is none. */
static __always_inline enum reason echo_answer(struct xdp_md *ctx, const struct packet *packet)
{
	void *frame = (void *)(long)ctx->data;
	void *ip = frame + packet_network(packet);
	__u32 header = packet->version == 6 ? IPV6_HEADER : IPV4_HEADER;

	if (!vip_has_address(packet))
		return PASS_NOT_TCP_UDP;
	if (packet->version == 4 && !check_header_sum(ctx, packet))
		return DROP_BAD_CHECKSUM;
	if (check_is_land(packet))
		return DROP_LAND;
	if (!answer_has_target(packet))
		return PASS_NOT_TCP_UDP;
	if (frame + ETH_HLEN > (void *)(long)ctx->data_end ||
	    ip + header + ICMP_HEADER > (void *)(long)ctx->data_end)
		return DROP_INTERNAL;
	answer_write_macs(frame, answer_macs_of(frame));
	if (packet->version == 6)
		echo_write6(ip, packet);
	else
		echo_write4(ip, packet);
	return ANSWER_ECHO;
}

#endif
