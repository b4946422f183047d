/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* What all answers have in common: the frame goes back to where it came from, and there are not too many. */
#ifndef XDPLB_ANSWER_H
#define XDPLB_ANSWER_H

#include "bytes.h"
#include "checksum.h"
#include "decision.h"
#include "maps.h"
#include "packet.h"

#define ANSWER_TTL 64
#define ANSWER_MAC_GROUP 0x01 /* in a MAC's first byte */
#define ANSWER_MAC_BITS 0x0000ffffffffffffULL

#define ANSWER_COST 1000000ULL           /* ns: a thousand answers a second on each CPU */
#define ANSWER_AHEAD (100 * ANSWER_COST) /* and at most a hundred at once */

/* An answer by ICMP quotes as much of the packet as fits into 576 bytes (RFC 1812, 4.3.2.3) or IPv6's minimum MTU (RFC 4443,
 * 2.4 c).
 */
#define ANSWER4_QUOTE 548
#define ANSWER6_QUOTE 1232
#define ANSWER_DF 0x4000

#define CSUM_DIFF_BYTES 512 /* what bpf_csum_diff takes in one call */

/* The first 12 bytes of a frame, both MACs. */
struct answer_macs {
	__u64 first;
	__u32 last;
};

/* Returns the MACs of a frame, swapped. */
static __always_inline struct answer_macs answer_macs_of(const void *frame)
{
	__u64 first = read_u64(frame); /* the destination, and the source's first two bytes */
	__u32 last = read_u32(frame + 8);
	struct answer_macs macs = {first >> 48 | (__u64)last << 16 | first << 48, first >> 16};

	return macs;
}

/* Whether there is somebody to answer: the frame came from one station (IEEE 802.3, 3.2.3), and not from our own MAC. */
static __always_inline int answer_has_sender(struct answer_macs swapped)
{
	__u64 sender = swapped.first & ANSWER_MAC_BITS;
	__u64 own = swapped.first >> 48 | (__u64)swapped.last << 16;

	return !(sender & ANSWER_MAC_GROUP) && sender && sender != own;
}

static __always_inline void answer_write_macs(void *frame, struct answer_macs macs)
{
	write_u64(frame, macs.first);
	write_u32(frame + 8, macs.last);
}

/* Whether this CPU may answer now; if so, charges its bucket, which is like those of the rate limits (layout.h). */
static __always_inline int answer_is_affordable(void)
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

/* Returns the sum of a 64-bit value's 16-bit words. */
static __always_inline __u32 answer_words(__u64 value)
{
	return checksum_words(value) + checksum_words(value >> 32);
}

/* Writes the IP header of an answer with `length` bytes behind it, from the packet's destination to its source. */
static __always_inline void answer_write_ip(void *ip, const struct packet *packet, __u8 protocol,
                                            __u32 length)
{
	__u64 first, addresses;
	__u16 ttl = ANSWER_TTL | protocol << 8;

	if (packet->version == 6) {
		write_u64(ip, 0x60 | (__u64)NET16((__u16)length) << 32 | (__u64)protocol << 48 |
		                      (__u64)ANSWER_TTL << 56);
		write_u64(ip + 8, packet->destination[0]);
		write_u64(ip + 16, packet->destination[1]);
		write_u64(ip + 24, packet->source[0]);
		write_u64(ip + 32, packet->source[1]);
		return;
	}
	first = 0x45 | (__u64)NET16((__u16)(IPV4_HEADER + length)) << 16 | (__u64)NET16(ANSWER_DF) << 48;
	addresses = packet->destination[0] | packet->source[0] << 32;
	write_u64(ip, first);
	write_u32(ip + 8, ttl | (__u32)checksum_fold(answer_words(first) + ttl + answer_words(addresses))
	                                  << 16);
	write_u64(ip + 12, addresses);
}

/* Returns the sum of the pseudo-header that checksums of an answer's transport cover (RFC 9293, 3.1; RFC 8200, 8.1). */
static __always_inline __u32 answer_pseudo(const struct packet *packet, __u8 protocol, __u32 length)
{
	return answer_words(packet->source[0]) + answer_words(packet->source[1]) +
	       answer_words(packet->destination[0]) + answer_words(packet->destination[1]) +
	       NET16((__u16)length) + NET16(protocol);
}

/* The Ethernet header behind the MACs: at most two tags and the type, 10 bytes from offset 12. In a frame with fewer
 * tags that includes up to 8 bytes of the IP header, which the answer's header overwrites.
 */
struct answer_tags {
	__u64 first;
	__u32 last; /* from offset 18: overlaps `first` by 2 bytes */
};

static __always_inline struct answer_tags answer_tags_of(const void *frame)
{
	struct answer_tags tags = {read_u64(frame + 12), read_u32(frame + 18)};

	return tags;
}

static __always_inline void answer_write_tags(void *frame, struct answer_tags tags)
{
	write_u64(frame + 12, tags.first);
	write_u32(frame + 18, tags.last);
}

/* Inserts `headers` bytes in front of the IP packet, cuts the frame behind the packet's first `quote` bytes, and writes
 * the Ethernet header, its MACs swapped, at the new beginning. Returns 0, or -1 if there is no room.
 */
static __always_inline int answer_move(struct xdp_md *ctx, __u32 ethernet, __u32 headers, __u32 quote)
{
	void *frame = (void *)(long)ctx->data;
	struct answer_macs macs;
	struct answer_tags tags;
	int length = (void *)(long)ctx->data_end - frame;

	if (frame + ETH_HLEN + IPV4_HEADER > (void *)(long)ctx->data_end)
		return -1;
	macs = answer_macs_of(frame);
	tags = answer_tags_of(frame);
	if (bpf_xdp_adjust_head(ctx, -(int)headers))
		return -1;
	frame = (void *)(long)ctx->data;
	if (frame + ETH_HLEN + IPV4_HEADER > (void *)(long)ctx->data_end)
		return -1;
	answer_write_macs(frame, macs);
	answer_write_tags(frame, tags);
	return bpf_xdp_adjust_tail(ctx, (int)(ethernet + quote) - length) ? -1 : 0;
}

#endif
