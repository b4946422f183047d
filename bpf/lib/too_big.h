/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Packets that are too big for the way to their backend: XDP cannot fragment, so an ICMP message from the VIP tells the
 * sender the MTU (RFC 1191, RFC 8201). That is how clients learn the path MTU when backends are behind a tunnel.
 */
#ifndef XDPLB_TOO_BIG_H
#define XDPLB_TOO_BIG_H

#include "answer.h"
#include "bytes.h"
#include "check.h"
#include "checksum.h"
#include "decision.h"
#include "icmp.h"
#include "maps.h"
#include "packet.h"

/* Packets that are not longer than every path must carry get no answer. */
#define IPV6_LEAST_MTU 1280

#define TOO_BIG4_TYPE (3 | 4 << 8) /* unreachable, fragmentation needed */
#define TOO_BIG6_TYPE 2            /* packet too big */

/* No answer to an ICMP error or to a non-first fragment, nor to a source that is not one host (RFC 1122, 3.2.2):
 * check_packet has dropped what comes from an address of that kind.
 */
static __always_inline int too_big_has_class(const struct packet *packet)
{
#ifdef WITH_NAT
	if (packet->class == CLASS_REPLY)
		return !packet_is_later_fragment(packet);
#endif
	return packet->class == CLASS_REQUEST;
}

static __always_inline int too_big_is_told(struct xdp_md *ctx, const struct packet *packet)
{
	const void *frame = (void *)(long)ctx->data;

	if (!too_big_has_class(packet) || frame + ETH_HLEN > (void *)(long)ctx->data_end ||
	    !answer_has_sender(answer_macs_of(frame)))
		return 0;
	return packet->version == 6 ? packet->ip_length > IPV6_LEAST_MTU : packet->ip_length >= ANSWER4_QUOTE;
}

/* Returns `sum` plus the words of `length` bytes (a constant, and a multiple of 4), folded to 32 bits. */
static __always_inline __u32 too_big_sum(void *from, __u32 length, __u32 sum)
{
#pragma unroll
	for (__u32 at = 0; at < ANSWER6_QUOTE; at += CSUM_DIFF_BYTES) {
		__u32 left = length - at;

		if (at < length)
			sum = bpf_csum_diff(NULL, 0, from + at,
			                    left < CSUM_DIFF_BYTES ? left : CSUM_DIFF_BYTES, sum);
	}
	return sum;
}

static __always_inline void too_big_write4(void *ip, const struct packet *packet, __u32 mtu)
{
	__u32 message = (__u32)NET16((__u16)mtu) << 16;
	void *icmp = ip + IPV4_HEADER;
	__u32 sum = too_big_sum(icmp + ICMP_HEADER, ANSWER4_QUOTE, TOO_BIG4_TYPE + checksum_words(message));

	answer_write_ip(ip, packet, IPPROTO_ICMP, ICMP_HEADER + ANSWER4_QUOTE);
	write_u64(icmp, TOO_BIG4_TYPE | (__u32)checksum_fold(sum) << 16 | (__u64)message << 32);
}

static __always_inline void too_big_write6(void *ip, const struct packet *packet, __u32 mtu)
{
	__u32 length = ICMP_HEADER + ANSWER6_QUOTE;
	__u32 message = NET32(mtu > IPV6_LEAST_MTU ? mtu : IPV6_LEAST_MTU);
	void *icmp = ip + IPV6_HEADER;
	__u32 sum = answer_pseudo(packet, IPPROTO_ICMPV6, length) + TOO_BIG6_TYPE + checksum_words(message);

	sum = too_big_sum(icmp + ICMP_HEADER, ANSWER6_QUOTE, sum);
	answer_write_ip(ip, packet, IPPROTO_ICMPV6, length);
	write_u64(icmp, TOO_BIG6_TYPE | (__u32)checksum_fold(sum) << 16 | (__u64)message << 32);
}

/* Makes room for `headers` in front of the first `quote` bytes of the packet. Returns where the answer's IP header
 * begins, with all that is written and quoted inside the frame; NULL if there is no room.
 */
static __always_inline void *too_big_room(struct xdp_md *ctx, const struct packet *packet, __u32 headers,
                                          __u32 quote)
{
	void *ip;

	if (answer_move(ctx, packet_network(packet), headers, quote))
		return NULL;
	ip = (void *)(long)ctx->data + packet_network(packet);
	return ip + headers + quote > (void *)(long)ctx->data_end ? NULL : ip;
}

/* Makes the frame an answer with the MTU, or returns that it is dropped. */
static __always_inline enum reason too_big_answer(struct xdp_md *ctx, const struct packet *packet, __u32 mtu)
{
	void *ip;

	if (!too_big_is_told(ctx, packet) || !answer_is_affordable())
		return DROP_TOO_BIG;
	if (packet->version == 6) {
		ip = too_big_room(ctx, packet, IPV6_HEADER + ICMP_HEADER, ANSWER6_QUOTE);
		if (ip)
			too_big_write6(ip, packet, mtu);
	} else {
		ip = too_big_room(ctx, packet, IPV4_HEADER + ICMP_HEADER, ANSWER4_QUOTE);
		if (ip)
			too_big_write4(ip, packet, mtu);
	}
	return ip ? ANSWER_TOO_BIG : DROP_TOO_BIG;
}

#endif
