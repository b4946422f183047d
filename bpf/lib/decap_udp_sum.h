/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* The UDP checksum of a tunnel. 0 is none: allowed in IPv4, and in IPv6 for tunnels (RFC 6935), where xdplb sends it. */
#ifndef XDPLB_DECAP_UDP_SUM_H
#define XDPLB_DECAP_UDP_SUM_H

#include "bytes.h"
#include "checksum.h"
#include "packet.h"

#define UDP_SUM_BLOCK 512 /* bytes: what bpf_csum_diff takes in one call */
#define UDP_SUM_BLOCKS                                                                                       \
	18 /* of a frame of 9216 bytes; an XDP program sees no more than a page of most frames */
#define UDP_SUM_AT_BITS 0x3fff

/* What is still to be added up: `left` bytes at `at` behind the datagram's beginning, whose sum so far is `sum`. `zero` is
 * 0, which the verifier does not know: see packet_blur.
 */
struct udp_sum {
	__u64 at, left, zero;
	__u32 sum;
};

/* Returns where the rest begins: one pointer, of which what is compared is what is read from. */
static __always_inline const void *udp_sum_at(const void *udp, const struct udp_sum *rest)
{
	const void *from = udp + (rest->at & UDP_SUM_AT_BITS);

	asm volatile("" : "+r"(from));
	return from;
}

/* Adds the words of the next `size` bytes, a constant and a multiple of 4. Returns -1 if they are not in the frame. */
static __always_inline int udp_sum_block(const void *udp, const void *end, struct udp_sum *rest, __u32 size)
{
	const void *from = udp_sum_at(udp, rest);

	if (from + size > end)
		return -1;
	rest->sum = bpf_csum_diff(NULL, 0, (void *)from, size, rest->sum);
	rest->at = (rest->at + size) ^ rest->zero;
	rest->left -= size;
	return 0;
}

/* Adds the last 1 to 3 bytes, filled up with zeros to a word. */
static __always_inline int udp_sum_last(const void *udp, const void *end, struct udp_sum *rest)
{
	const __u8 *from = udp_sum_at(udp, rest);
	__u64 sum = rest->sum;

#pragma unroll
	for (int i = 0; i < 3; i++) {
		if (i >= rest->left)
			break;
		if ((void *)(from + 1) > end)
			return -1;
		sum += (__u64)*from << 8 * i;
		from++;
		asm volatile("" : "+r"(from));
	}
	rest->sum = (__u32)sum + (sum >> 32);
	return 0;
}

/* Whether the checksum is right of the datagram of `length` bytes at `udp`; `sum` is that of its pseudo-header (RFC 768,
 * RFC 8200, 8.1). That of a datagram longer than UDP_SUM_BLOCKS is taken to be wrong.
 */
static __always_inline int udp_sum_is_right(const void *udp, const void *end, __u32 length, __u32 sum)
{
	struct udp_sum rest = {.left = length, .zero = (__u64)(end - udp) >> 32, .sum = sum};

	for (int i = 0; i < UDP_SUM_BLOCKS; i++) {
		asm volatile(
			""
			: "+r"(rest.left)); /* the compiler would count something else that the verifier cannot bound */
		if (rest.left < UDP_SUM_BLOCK)
			break;
		if (udp_sum_block(udp, end, &rest, UDP_SUM_BLOCK))
			return 0;
	}
#pragma unroll
	for (__u32 size = UDP_SUM_BLOCK / 2; size >= sizeof(__u32); size /= 2)
		if (rest.left & size && udp_sum_block(udp, end, &rest, size))
			return 0;
	return rest.left < sizeof(__u32) && !udp_sum_last(udp, end, &rest) && checksum_fold(rest.sum) == 0;
}

#endif
