/* SPDX-License-Identifier: Apache-2.0 */
/* The bench's own programs: a harness that runs first in every turn of BPF_PROG_TEST_RUN, and the floors.
 *
 * With `repeat` the kernel does not reset the packet between turns, so the harness does: it moves `data` and the end back,
 * writes the headers anew from a template, picks the flow and tail-calls the program under test. It notes the time at the
 * first and at the last turn; the kernel's own figure is cut to whole nanoseconds.
 */
#include <uapi/linux/bpf.h>
#include <uapi/linux/if_ether.h>
#include <uapi/linux/ip.h>

#include "frame.h"

#define FIXED 0   /* always flow 0 */
#define RANDOM 1  /* a random one of `flows` */
#define FRESH 2   /* one never seen before */
#define OPENING 3 /* the same, two packets of each: a SYN, then an ACK */

#define TCP_SYN 0x02
#define TCP_ACK 0x10

#define RESTORES_HEAD 1
#define RESTORES_TAIL 2

#define FLOOR_READ 34 /* bytes of Ethernet and IPv4 */

struct bench {
	__u64 turn;
	__u64 turns;
	__u64 start;
	__u64 end;
	__u64 random;
	__u64 fresh;
	__u32 flows; /* a power of two */
	__u32 mode;
	__s32 cut;      /* bytes that the program takes from the frame's end */
	__u16 restores; /* RESTORES_*: the calls that were needed */
	__u16 mimics;   /* those to make even if they are not */
	struct pattern frame;
};

BPF_TABLE_PINNED("array", __u32, struct bench, bench, 1, PIN_DIR "/bench");
BPF_TABLE_PINNED("prog", __u32, __u32, target, 1, PIN_DIR "/target");

static __always_inline __u32 bench_pick_flow(struct bench *b)
{
	if (b->mode == FIXED)
		return 0;
	if (b->mode == FRESH)
		return (__u32)b->fresh++;
	if (b->mode == OPENING)
		return (__u32)(b->fresh++ >> 1);
	b->random = frame_random(b->random);
	return (__u32)(b->random >> 32) & (b->flows - 1);
}

/* Makes every second packet of a flow that begins an ACK; TCP's checksum is the host's to look at. */
static __always_inline int bench_open(void *data, const void *end, const struct bench *b)
{
	__u8 *flags = data + 14 + sizeof(struct iphdr) + 13;

	if (b->mode != OPENING)
		return 1;
	if ((void *)(flags + 1) > end)
		return 0;
	*flags = b->fresh & 1 ? TCP_SYN : TCP_ACK;
	return 1;
}

/* Gives the frame the length back that it had before the last turn, and notes by which calls. In front of the empty program
 * it makes the same calls that it makes for the program under test, so that they are not counted as that program's.
 */
static __always_inline int bench_restore(struct xdp_md *ctx, struct bench *b)
{
	int moved = (int)((long)ctx->data_end - (long)ctx->data) - (int)b->frame.length;
	int tail = moved ? b->cut : 0, head = moved + tail;

	if (head || b->mimics & RESTORES_HEAD) {
		b->restores |= RESTORES_HEAD;
		if (bpf_xdp_adjust_head(ctx, head))
			return -1;
	}
	if (tail || b->mimics & RESTORES_TAIL) {
		b->restores |= RESTORES_TAIL;
		return bpf_xdp_adjust_tail(ctx, tail);
	}
	return 0;
}

int harness(struct xdp_md *ctx)
{
	__u32 zero = 0;
	struct bench *b = bench.lookup(&zero);
	if (!b || bench_restore(ctx, b))
		return XDP_ABORTED;
	if (!frame_write((void *)(long)ctx->data, (void *)(long)ctx->data_end, &b->frame,
	                 bench_pick_flow(b)) ||
	    !bench_open((void *)(long)ctx->data, (void *)(long)ctx->data_end, b))
		return XDP_ABORTED;

	__u64 turn = b->turn;
	/* The atomic addition waits until all of the frame is in the cache, as what a NIC delivers is: a load that spans
	 * two stores still on their way would wait for them, and the program would be charged for that.
	 */
	__sync_fetch_and_add(&b->turn, 1);
	if (turn == 0)
		b->start = bpf_ktime_get_ns();
	if (turn == b->turns)
		b->end = bpf_ktime_get_ns();
	target.call(ctx, 0);
	return XDP_ABORTED;
}

int empty(struct xdp_md *ctx)
{
	return XDP_TX;
}

int mac_swap(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data;
	struct ethhdr *eth = data;
	__u8 mac[ETH_ALEN];

	if (data + sizeof(*eth) > (void *)(long)ctx->data_end)
		return XDP_DROP;
	__builtin_memcpy(mac, eth->h_dest, ETH_ALEN);
	__builtin_memcpy(eth->h_dest, eth->h_source, ETH_ALEN);
	__builtin_memcpy(eth->h_source, mac, ETH_ALEN);
	return XDP_TX;
}

/* The least that anything can do that encapsulates: parse, push 20 bytes, write a constant outer header. Every access is as
 * wide as it may be and aligned where the frame begins 8-byte aligned, as it does here and behind most drivers.
 */
int ipip_floor(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;

	if (data + FLOOR_READ > end || *(__u16 *)(data + 12) != bpf_htons(ETH_P_IP) ||
	    *(__u8 *)(data + 14) != 0x45)
		return XDP_DROP;
	if (bpf_xdp_adjust_head(ctx, -(int)sizeof(struct iphdr)))
		return XDP_DROP;
	data = (void *)(long)ctx->data;
	end = (void *)(long)ctx->data_end;
	if (data + FLOOR_READ > end)
		return XDP_DROP;
	/* The MACs 02:00:00:00:00:02 and :01, 0x0800, then the header: 70 bytes from 10.0.0.1 to 10.0.0.2. */
	*(__u32 *)data = bpf_htonl(0x02000000);
	*(__u64 *)(data + 4) = __builtin_bswap64(0x0002020000000001ULL);
	*(__u64 *)(data + 12) = __builtin_bswap64(0x0800450000460000ULL);
	*(__u64 *)(data + 20) = __builtin_bswap64(0x4000400466520a00ULL);
	*(__u32 *)(data + 28) = bpf_htonl(0x00010a00);
	*(__u16 *)(data + 32) = bpf_htons(0x0002);
	return XDP_TX;
}
