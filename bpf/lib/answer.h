/* What both kinds of answers have in common: the frame goes back to whom it came from. */
#ifndef XDPLB_ANSWER_H
#define XDPLB_ANSWER_H

#include "memory.h"
#include "packet.h"

#define ANSWER_TTL 64

/* The first 12 bytes of a frame, both MACs. */
struct answer_macs {
	__u64 first;
	__u32 last;
};

/* Returns the MACs of the answer to a frame: each in the other's place. */
static __always_inline struct answer_macs answer_macs_of(const void *frame)
{
	__u64 first = load_u64(frame); /* the destination, and the source's first two bytes */
	__u32 last = load_u32(frame + 8);
	struct answer_macs macs = {first >> 48 | (__u64)last << 16 | first << 48, first >> 16};

	return macs;
}

static __always_inline void answer_write_macs(void *frame, struct answer_macs macs)
{
	store_u64(frame, macs.first);
	store_u32(frame + 8, macs.last);
}

/* Whether the source is one host: nobody answers multicast, broadcast or no address at all (RFC 1122, 3.2.2). */
static __always_inline int answer_has_target(const struct packet *packet)
{
	__u8 first = packet->source[0]; /* as it lies in memory: the lowest byte is the first one */

	if (packet->version == 6)
		return first != 0xff && (packet->source[0] | packet->source[1]);
	return (first & 0xf0) != 0xe0 && packet->source[0] && packet->source[0] != 0xffffffff;
}

#endif
