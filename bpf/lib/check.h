/* What a packet for a VIP must be like before it is sent on.
 *
 * Each check is a few instructions: nearly every packet passes them all.
 */
#ifndef XDPLB_CHECK_H
#define XDPLB_CHECK_H

#include "memory.h"
#include "packet.h"

#define IPV4_LONGEST 60
#define CHECK_INVERSE 0xfffefffefffeffffULL /* * 65535 = 1 modulo 2^64 */
#define CHECK_MOST 0x0001000100010001ULL    /* 2^64 / 65535 */
#define TCP_FLAG_BITS 0x3f /* FIN, SYN, RST, PSH, ACK, URG: those that some segment must have one of */

/* The sum of the options' words: bytes 20 to `length` of the header, which ends inside the frame. */
static __always_inline __u64 check_sum_options(const void *header, const void *end, __u32 length)
{
	__u64 sum = 0;

	for (int at = IPV4_HEADER; at < IPV4_LONGEST; at += sizeof(__u32)) {
		if (at >= length || header + at + sizeof(__u32) > end)
			break;
		sum += load_u32(header + at);
	}
	return sum;
}

/* Whether a number is a multiple of 65535, by one multiplication: that with the inverse of 65535 modulo 2^64 takes the
 * multiples, and no other number, to what they are multiples by.
 */
static __always_inline int check_is_multiple(__u64 sum)
{
	return sum * CHECK_INVERSE <= CHECK_MOST;
}

/* Whether the checksum of the frame's IPv4 header is right. The sum of its 32-bit words leaves the same remainder by 65535
 * as that of its 16-bit words, whose sum in ones' complement must be 0.
 */
static __always_inline int check_header_sum(struct xdp_md *ctx, const struct packet *packet)
{
	const void *end = (void *)(long)ctx->data_end;
	const void *header = (void *)(long)ctx->data + packet_network(packet);
	__u64 sum;

	if (header + IPV4_HEADER > end)
		return 0;
	sum = (__u64)load_u32(header) + load_u32(header + 4) + load_u32(header + 8) + load_u32(header + 12) +
	      load_u32(header + 16);
	if (packet->transport != IPV4_HEADER)
		sum += check_sum_options(header, end, packet_blur(packet, packet->transport));
	return check_is_multiple(sum);
}

/* A packet that says it comes from where it goes to would be answered for ever. */
static __always_inline int check_is_land(const struct packet *packet)
{
	return packet->source[0] == packet->destination[0] &&
	       (packet->version == 4 || packet->source[1] == packet->destination[1]);
}

/* Flags that no TCP sends: none at all, or a beginning and an end at once. */
static __always_inline int check_flags_are_forged(__u8 flags)
{
	if (flags & TCP_SYN)
		return flags & (TCP_FIN | TCP_RST);
	return !(flags & TCP_FLAG_BITS);
}

/* Returns GO_ON, or why a packet for a VIP is dropped whatever the VIP is. Later fragments and ICMP errors have no TCP
 * flags.
 */
static __always_inline enum reason check_packet(struct xdp_md *ctx, const struct packet *packet)
{
	if (packet->version == 4 && !check_header_sum(ctx, packet))
		return DROP_BAD_CHECKSUM;
	if (packet->ttl <= 1)
		return DROP_TTL;
	if (check_is_land(packet))
		return DROP_LAND;
	if (packet->protocol == IPPROTO_TCP && packet->fragment != FRAGMENT_LATER && !packet->icmp_error &&
	    check_flags_are_forged(packet->tcp_flags))
		return DROP_TCP_FLAGS;
	return GO_ON;
}

#endif
