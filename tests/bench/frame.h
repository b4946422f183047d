/* SPDX-License-Identifier: Apache-2.0 */
/* The frames of the bench: their headers written anew each time from a template, and whose flow they are of. */
#ifndef XDPLB_BENCH_FRAME_H
#define XDPLB_BENCH_FRAME_H

#define HEADER_BYTES 80
#define NETWORK_MOST 22 /* where IP begins behind two tags */
#define WRITTEN4 28     /* bytes of IPv4's header, the ports and UDP's length */
#define WRITTEN6 48
#define IS_REPLY 32

struct pattern {
	__u32 length;  /* of the frame */
	__u16 network; /* where the IP header begins: 14, 18 or 22; with IS_REPLY for a reply of IPv4 */
	__u16 version;
	__u8 header[HEADER_BYTES];
};

#define COPY(type, at) *(volatile type *)(to + at) = *(volatile type *)(from + at)

/* A next random number (xorshift64, G. Marsaglia, Journal of Statistical Software 8(14), 2003). */
static __always_inline __u64 frame_random(__u64 x)
{
	x ^= x << 13;
	x ^= x >> 7;
	x ^= x << 17;
	return x;
}

static __always_inline void frame_write_ethernet(void *to, const void *from, __u32 network)
{
	COPY(__u64, 0);
	COPY(__u32, 8);
	if (network == 14)
		COPY(__u16, 12);
	else if (*(volatile __u64 *)(to + 12) != *(volatile __u64 *)(from + 12))
		COPY(__u64, 12);
}

/* 2^16 flows an address: the source port takes the low half of the flow, the low half of the address, which is 0 in the
 * template, the high half. The id, 0xffff in the template, takes it away again, so that the checksum stays right. In a reply
 * the destination port takes the low half.
 */
static __always_inline void frame_write_ipv4(void *to, const void *from, __u32 flow, __u32 shift)
{
	__u32 high = flow >> 16;

	COPY(__u32, 0);
	*(volatile __u32 *)(to + 4) = *(volatile __u32 *)(from + 4) - high;
	COPY(__u32, 8);
	*(volatile __u32 *)(to + 12) = *(volatile __u32 *)(from + 12) | high << 16;
	COPY(__u32, 16);
	*(volatile __u32 *)(to + 20) = *(volatile __u32 *)(from + 20) ^ (flow & 0xffff) << shift;
	COPY(__u32, 24);
}

/* The same, with the high half of the flow in the last word of the source. */
static __always_inline void frame_write_ipv6(void *to, const void *from, __u32 flow)
{
	COPY(__u64, 0);
	COPY(__u64, 8);
	*(volatile __u64 *)(to + 16) = *(volatile __u64 *)(from + 16) ^ (__u64)(flow >> 16) << 48;
	COPY(__u64, 24);
	COPY(__u64, 32);
	*(volatile __u32 *)(to + 40) = *(volatile __u32 *)(from + 40) ^ (flow & 0xffff);
	COPY(__u32, 44);
}

/* Writes Ethernet, IP and UDP's header; nothing behind them is changed by what runs here. Each field is stored as wide as programs
 * load it, or wider: a load that spans two stores waits for both, which no packet that comes from a NIC makes it do.
 * Returns 0 where the frame is too short.
 */
static __always_inline int frame_write(void *frame, const void *end, const struct pattern *pattern,
                                       __u32 flow)
{
	__u32 network = pattern->network & 31;
	const void *from = pattern->header;
	void *ip = frame + network;

	if (network > NETWORK_MOST || frame + 20 > end)
		return 0;
	frame_write_ethernet(frame, from, network);
	if (pattern->version == 4) {
		if (ip + WRITTEN4 > end)
			return 0;
		frame_write_ipv4(ip, from + network, flow, pattern->network & IS_REPLY ? 16 : 0);
		return 1;
	}
	if (ip + WRITTEN6 > end)
		return 0;
	frame_write_ipv6(ip, from + network, flow);
	return 1;
}

#endif
