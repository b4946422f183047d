/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* What both answers have in common: the frame goes back to where it came from. */
#ifndef XDPLB_ANSWER_H
#define XDPLB_ANSWER_H

#include "bytes.h"
#include "packet.h"

#define ANSWER_TTL 64
#define ANSWER_MAC_GROUP 0x01 /* in a MAC's first byte */
#define ANSWER_MAC_BITS 0x0000ffffffffffffULL

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

#endif
