/* What is checked of every packet that is ours, whichever VIP it is for.
 *
 * Each check is a few instructions: nearly every packet passes them all.
 */
#ifndef XDPLB_CHECK_H
#define XDPLB_CHECK_H

#include "bytes.h"
#include "classify.h"
#include "packet.h"

#define IPV4_LONGEST 60
#define CHECK_INVERSE 0xfffefffefffeffffULL /* * 65535 = 1 modulo 2^64 */
#define CHECK_MOST 0x0001000100010001ULL    /* 2^64 / 65535 */
#define TCP_FLAG_BITS 0x3f /* FIN, SYN, RST, PSH, ACK, URG: every segment has at least one of them */

/* The sum of the options' words: bytes 20 to `length` of the header, which ends inside the frame. */
static __always_inline __u64 check_sum_options(const void *header, const void *end, __u32 length)
{
	__u64 sum = 0;

	for (int at = IPV4_HEADER; at < IPV4_LONGEST; at += sizeof(__u32)) {
		if (at >= length || header + at + sizeof(__u32) > end)
			break;
		sum += read_u32(header + at);
	}
	return sum;
}

/* Whether a number is a multiple of 65535. Multiplied by the inverse of 65535 modulo 2^64, a multiple becomes the
 * quotient, which is at most 2^64 / 65535, and any other number becomes something larger.
 */
static __always_inline int check_is_multiple(__u64 sum)
{
	return sum * CHECK_INVERSE <= CHECK_MOST;
}

/* Whether the checksum of the IPv4 header is right: the one's complement sum of its 16-bit words must be 0, which is to
 * say that their sum is a multiple of 65535. The sum of its 32-bit words leaves the same remainder, since 2^16 = 1
 * modulo 65535.
 */
static __always_inline int check_header_sum(struct xdp_md *ctx, const struct packet *packet)
{
	const void *end = (void *)(long)ctx->data_end;
	const void *header = (void *)(long)ctx->data + packet_network(packet);
	__u64 sum;

	if (header + IPV4_HEADER > end)
		return 0;
	sum = (__u64)read_u32(header) + read_u32(header + 4) + read_u32(header + 8) + read_u32(header + 12) +
	      read_u32(header + 16);
	if (packet->transport != IPV4_HEADER)
		sum += check_sum_options(header, end, packet_blur(packet, packet->transport));
	return check_is_multiple(sum);
}

/* A packet from its own destination ("land"): the backend would answer itself. */
static __always_inline int check_is_land(const struct packet *packet)
{
	return packet->source[0] == packet->destination[0] &&
	       (packet->version == 4 || packet->source[1] == packet->destination[1]);
}

/* Flags that no TCP sends: none at all, or SYN together with FIN or RST. */
static __always_inline int check_flags_are_forged(__u8 flags)
{
	if ((flags & (TCP_SYN | TCP_ACK)) == TCP_ACK) /* nearly all */
		return 0;
	if (flags & TCP_SYN)
		return flags & (TCP_FIN | TCP_RST);
	return !(flags & TCP_FLAG_BITS);
}

/* Whether an answer to the source would reach one host: multicast, broadcast and the unspecified address get none
 * (RFC 1122, 3.2.2).
 */
static __always_inline int check_is_one_host(const struct packet *packet)
{
	__u8 first = packet->source[0]; /* in network order: the lowest byte is the first one */

	if (packet->version == 6)
		return first != 0xff && (packet->source[0] | packet->source[1]);
	return (first & 0xf0) != 0xe0 && packet->source[0] && packet->source[0] != 0xffffffff;
}

/* `rarely` for plain packets alone: for others it would be more to verify. */
static __always_inline enum reason check_failed(const struct packet *packet, enum reason reason)
{
	return packet->is_plain ? rarely(reason) : reason;
}

/* Returns GO_ON, or why a packet that would be sent to a backend is dropped. */
static __always_inline enum reason check_packet(struct xdp_md *ctx, const struct packet *packet)
{
	if (packet->version == 4 && !check_header_sum(ctx, packet))
		return check_failed(packet, DROP_BAD_CHECKSUM);
	if (packet->ttl <= 1)
		return check_failed(packet, DROP_TTL);
	if (check_is_land(packet))
		return check_failed(packet, DROP_LAND);
	if (packet->class == CLASS_REQUEST && packet->protocol == IPPROTO_TCP &&
	    check_flags_are_forged(packet->tcp_flags))
		return check_failed(packet, DROP_TCP_FLAGS);
	return GO_ON;
}

/* Returns GO_ON, or why a ping is not answered. */
static __always_inline enum reason check_ping(struct xdp_md *ctx, const struct packet *packet)
{
	if (packet->version == 4 && !check_header_sum(ctx, packet))
		return DROP_BAD_CHECKSUM;
	if (check_is_land(packet))
		return DROP_LAND;
	return check_is_one_host(packet) ? GO_ON : PASS_NOT_TCP_UDP;
}

#endif
