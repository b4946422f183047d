/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* The checksum of an IPv4 header. */
#ifndef XDPLB_HEADER_SUM_H
#define XDPLB_HEADER_SUM_H

#include "bytes.h"
#include "ipv4_options.h"
#include "packet.h"

#define HEADER_SUM_INVERSE 0xfffefffefffeffffULL /* * 65535 = 1 modulo 2^64 */
#define HEADER_SUM_MOST 0x0001000100010001ULL    /* 2^64 / 65535 */

/* The sum of the options' words: bytes 20 to `length` of the header, which ends inside the frame. */
static __always_inline __u64 header_sum_options(const void *header, const void *end, __u32 length)
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
static __always_inline int header_sum_is_multiple(__u64 sum)
{
	return sum * HEADER_SUM_INVERSE <= HEADER_SUM_MOST;
}

/* Whether the checksum is right, of a header whose first 20 bytes are in the frame: the one's complement sum of its 16-bit
 * words must be 0, which is to say that their sum is a multiple of 65535. The sum of its 32-bit words leaves the same
 * remainder, since 2^16 = 1 modulo 65535. `options` is the sum of the options' words.
 */
static __always_inline int header_sum_is_right(const void *header, __u64 options)
{
	return header_sum_is_multiple(options + read_u32(header) + read_u32(header + 4) +
	                              read_u32(header + 8) + read_u32(header + 12) + read_u32(header + 16));
}

#endif
