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

/* An answer quotes as much of the packet as fits into 576 bytes (RFC 1812, 4.3.2.3) or IPv6's minimum MTU (RFC 4443,
 * 3.2). Shorter packets get no answer: every path must carry them.
 */
#define TOO_BIG4_QUOTE 548
#define TOO_BIG6_QUOTE 1232
#define IPV6_LEAST_MTU 1280

#define TOO_BIG4_TYPE (3 | 4 << 8) /* unreachable, fragmentation needed */
#define TOO_BIG6_TYPE 2            /* packet too big */
#define TOO_BIG_DF 0x4000

#define ANSWER_COST 1000000ULL           /* ns: a thousand answers a second on each CPU */
#define ANSWER_AHEAD (100 * ANSWER_COST) /* and at most a hundred at once */

#define CSUM_DIFF_BYTES 512 /* what bpf_csum_diff takes in one call */

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
	return packet->version == 6 ? packet->ip_length > IPV6_LEAST_MTU
	                            : packet->ip_length >= TOO_BIG4_QUOTE;
}

/* Whether this CPU may answer now; if so, charges its bucket, which is like those of the rate limits (layout.h). */
static __always_inline int too_big_is_affordable(void)
{
	__u32 zero = 0;
	__u64 now = bpf_ktime_get_coarse_ns(), next;
	__u64 *bucket = answer_budget.lookup(&zero);

	if (!bucket)
		return 0;
	next = (*bucket > now ? *bucket : now) + ANSWER_COST;
	if (next > now + ANSWER_AHEAD)
		return 0;
	if (CHANGES_MAPS)
		*bucket = next;
	return 1;
}

/* Returns `sum` plus the words of `length` bytes (a constant, and a multiple of 4), folded to 32 bits. */
static __always_inline __u32 too_big_sum(void *from, __u32 length, __u32 sum)
{
#pragma unroll
	for (__u32 at = 0; at < TOO_BIG6_QUOTE; at += CSUM_DIFF_BYTES) {
		__u32 left = length - at;

		if (at < length)
			sum = bpf_csum_diff(NULL, 0, from + at,
			                    left < CSUM_DIFF_BYTES ? left : CSUM_DIFF_BYTES, sum);
	}
	return sum;
}

/* Returns the sum of a 64-bit value's 16-bit words. */
static __always_inline __u32 too_big_words(__u64 value)
{
	return checksum_words(value) + checksum_words(value >> 32);
}

static __always_inline void too_big_write4(void *ip, const struct packet *packet, __u32 mtu)
{
	__u64 first = 0x45 | (__u64)NET16(IPV4_HEADER + ICMP_HEADER + TOO_BIG4_QUOTE) << 16 |
	              (__u64)NET16(TOO_BIG_DF) << 48;
	__u16 ttl = ANSWER_TTL | IPPROTO_ICMP << 8;
	__u64 addresses = packet->destination[0] | packet->source[0] << 32;
	__u16 header = checksum_fold(too_big_words(first) + ttl + too_big_words(addresses));
	__u32 message = (__u32)NET16((__u16)mtu) << 16;
	void *icmp = ip + IPV4_HEADER;
	__u32 sum = too_big_sum(icmp + ICMP_HEADER, TOO_BIG4_QUOTE, TOO_BIG4_TYPE + checksum_words(message));

	write_u64(ip, first);
	write_u32(ip + 8, ttl | (__u32)header << 16);
	write_u64(ip + 12, addresses);
	write_u64(icmp, TOO_BIG4_TYPE | (__u32)checksum_fold(sum) << 16 | (__u64)message << 32);
}

static __always_inline void too_big_write6(void *ip, const struct packet *packet, __u32 mtu)
{
	__u16 length = NET16(ICMP_HEADER + TOO_BIG6_QUOTE);
	__u32 message = NET32(mtu > IPV6_LEAST_MTU ? mtu : IPV6_LEAST_MTU);
	void *icmp = ip + IPV6_HEADER;
	__u32 sum;

	/* The pseudo-header (RFC 8200, 8.1), then the message's own words */
	sum = too_big_words(packet->source[0]) + too_big_words(packet->source[1]) +
	      too_big_words(packet->destination[0]) + too_big_words(packet->destination[1]) + length +
	      NET16(IPPROTO_ICMPV6) + TOO_BIG6_TYPE + checksum_words(message);
	sum = too_big_sum(icmp + ICMP_HEADER, TOO_BIG6_QUOTE, sum);

	write_u64(ip, 0x60 | (__u64)length << 32 | (__u64)IPPROTO_ICMPV6 << 48 | (__u64)ANSWER_TTL << 56);
	write_u64(ip + 8, packet->destination[0]);
	write_u64(ip + 16, packet->destination[1]);
	write_u64(ip + 24, packet->source[0]);
	write_u64(ip + 32, packet->source[1]);
	write_u64(icmp, TOO_BIG6_TYPE | (__u32)checksum_fold(sum) << 16 | (__u64)message << 32);
}

/* The Ethernet header behind the MACs: at most two tags and the type, 10 bytes from offset 12. In a frame with fewer
 * tags that includes up to 8 bytes of the IP header, which the answer's header overwrites.
 */
struct too_big_tags {
	__u64 first;
	__u32 last; /* from offset 18: overlaps `first` by 2 bytes */
};

static __always_inline struct too_big_tags too_big_tags_of(const void *frame)
{
	struct too_big_tags tags = {read_u64(frame + 12), read_u32(frame + 18)};

	return tags;
}

static __always_inline void too_big_write_tags(void *frame, struct too_big_tags tags)
{
	write_u64(frame + 12, tags.first);
	write_u32(frame + 18, tags.last);
}

/* Inserts `headers` bytes in front of the IP packet, cuts the frame behind the packet's first `quote` bytes, and writes
 * the Ethernet header, its MACs swapped, at the new beginning. Returns 0, or -1 if there is no room.
 */
static __always_inline int too_big_move(struct xdp_md *ctx, __u32 ethernet, __u32 headers, __u32 quote)
{
	void *frame = (void *)(long)ctx->data;
	struct answer_macs macs;
	struct too_big_tags tags;
	int length = (void *)(long)ctx->data_end - frame;

	if (frame + ETH_HLEN + IPV4_HEADER > (void *)(long)ctx->data_end)
		return -1;
	macs = answer_macs_of(frame);
	tags = too_big_tags_of(frame);
	if (bpf_xdp_adjust_head(ctx, -(int)headers))
		return -1;
	frame = (void *)(long)ctx->data;
	if (frame + ETH_HLEN + IPV4_HEADER > (void *)(long)ctx->data_end)
		return -1;
	answer_write_macs(frame, macs);
	too_big_write_tags(frame, tags);
	return bpf_xdp_adjust_tail(ctx, (int)(ethernet + quote) - length) ? -1 : 0;
}

/* Makes room for `headers` in front of the first `quote` bytes of the packet. Returns where the answer's IP header
 * begins, with all that is written and quoted inside the frame; NULL if there is no room.
 */
static __always_inline void *too_big_room(struct xdp_md *ctx, const struct packet *packet, __u32 headers,
                                          __u32 quote)
{
	void *ip;

	if (too_big_move(ctx, packet_network(packet), headers, quote))
		return NULL;
	ip = (void *)(long)ctx->data + packet_network(packet);
	return ip + headers + quote > (void *)(long)ctx->data_end ? NULL : ip;
}

/* Makes the frame an answer with the MTU, or returns that it is dropped. */
static __always_inline enum reason too_big_answer(struct xdp_md *ctx, const struct packet *packet, __u32 mtu)
{
	void *ip;

	if (!too_big_is_told(ctx, packet) || !too_big_is_affordable())
		return DROP_TOO_BIG;
	if (packet->version == 6) {
		ip = too_big_room(ctx, packet, IPV6_HEADER + ICMP_HEADER, TOO_BIG6_QUOTE);
		if (ip)
			too_big_write6(ip, packet, mtu);
	} else {
		ip = too_big_room(ctx, packet, IPV4_HEADER + ICMP_HEADER, TOO_BIG4_QUOTE);
		if (ip)
			too_big_write4(ip, packet, mtu);
	}
	return ip ? ANSWER_TOO_BIG : DROP_TOO_BIG;
}

#endif
