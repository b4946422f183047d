/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* The Internet checksum (RFC 1071) over 16-bit words as a little-endian CPU loads them, and its update (RFC 1624). */
#ifndef XDPLB_CHECKSUM_H
#define XDPLB_CHECKSUM_H

/* `sum` is of at most a few thousand words. Returns the checksum as it is stored. */
static __always_inline __u16 checksum_fold(__u32 sum)
{
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return ~sum;
}

/* The same for a sum of less than 2^32. Multiplied so, it lies in the product three times, each 16 bits further: bits 32 to
 * 47 are both its words and the carry of their sum.
 */
static __always_inline __u16 checksum_fold32(__u64 sum)
{
	return ~(sum * 0x0000000100010001ULL >> 32);
}

/* Returns the sum of a 32-bit value's two words. */
static __always_inline __u32 checksum_words(__u32 value)
{
	return (value & 0xffff) + (value >> 16);
}

/* Returns `checksum` after one word has changed. */
static __always_inline __u16 checksum_update(__u16 checksum, __u16 before, __u16 after)
{
	return checksum_fold((__u16)~checksum + (__u16)~before + after);
}

#endif
