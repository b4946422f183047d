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
