/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Reads and writes of several bytes at once, at any alignment.
 *
 * Each is one instruction, so that what is published as one 8-byte word is read as one. The compiler would split a
 * memcpy whose alignment it cannot see into single bytes.
 */
#ifndef XDPLB_BYTES_H
#define XDPLB_BYTES_H

static __always_inline __u64 read_u64(const void *from)
{
	return *(const volatile __u64 *)from;
}

static __always_inline __u32 read_u32(const void *from)
{
	return *(const volatile __u32 *)from;
}

static __always_inline __u16 read_u16(const void *from)
{
	return *(const volatile __u16 *)from;
}

static __always_inline void write_u64(void *to, __u64 value)
{
	*(volatile __u64 *)to = value;
}

static __always_inline void write_u32(void *to, __u32 value)
{
	*(volatile __u32 *)to = value;
}

static __always_inline void write_u16(void *to, __u16 value)
{
	*(volatile __u16 *)to = value;
}

#endif
