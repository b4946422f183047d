/* The bench's own programs: a harness that runs first in every turn of BPF_PROG_TEST_RUN, and the floors.
 *
 * With `repeat` the kernel does not reset the packet between turns, so the harness does: it moves `data` back, writes
 * the first 64 bytes anew from a template, picks the flow and tail-calls the program under test. It notes the time at
 * the first and at the last turn; the kernel's own figure is cut to whole nanoseconds.
 */
#include <uapi/linux/bpf.h>
#include <uapi/linux/if_ether.h>
#include <uapi/linux/ip.h>

#define FRAME 64
#define FIXED 0  /* always flow 0 */
#define RANDOM 1 /* a random one of `flows` */
#define FRESH 2  /* one never seen before */

struct bench {
	__u64 turn;
	__u64 turns;
	__u64 start;
	__u64 end;
	__u64 random;
	__u64 fresh;
	__u32 flows; /* a power of two */
	__u32 mode;
	__u8 frame[FRAME];
};

BPF_TABLE_PINNED("array", __u32, struct bench, bench, 1, PIN_DIR "/bench");
BPF_TABLE_PINNED("prog", __u32, __u32, target, 1, PIN_DIR "/target");

static __always_inline __u32 bench_pick_flow(struct bench *b)
{
	if (b->mode == FIXED)
		return 0;
	if (b->mode == FRESH)
		return (__u32)b->fresh++;
	/* xorshift64, G. Marsaglia, Journal of Statistical Software 8(14), 2003 */
	__u64 x = b->random;
	x ^= x << 13;
	x ^= x >> 7;
	x ^= x << 17;
	b->random = x;
	return (__u32)(x >> 32) & (b->flows - 1);
}

#define COPY(type, at) *(volatile type *)(to + at) = *(volatile type *)(from + at)

/* Each field is stored as wide as programs load it: a load that spans two stores waits for both, which no packet that
 * comes from a NIC makes it do. 2^16 flows an address: the source port (at 34) takes the low half of the flow, the
 * client's address (at 26) the high half.
 */
static __always_inline void bench_write_frame(void *to, const void *from, __u32 flow)
{
	COPY(__u64, 0);
	COPY(__u32, 8);
	COPY(__u16, 12);
	COPY(__u16, 14);
	COPY(__u16, 16);
	COPY(__u16, 18);
	COPY(__u16, 20);
	COPY(__u16, 22);
	COPY(__u16, 24);
	*(volatile __u32 *)(to + 26) = *(volatile __u32 *)(from + 26) ^ (flow >> 16 << 8);
	COPY(__u32, 30);
	*(volatile __u32 *)(to + 34) = (*(volatile __u32 *)(from + 34) & 0xffff0000) | (flow & 0xffff);
	COPY(__u64, 38);
	COPY(__u64, 46);
	COPY(__u64, 54);
	COPY(__u16, 62);
}

int harness(struct xdp_md *ctx)
{
	__u32 zero = 0;
	struct bench *b = bench.lookup(&zero);
	if (!b)
		return XDP_ABORTED;
	int moved = (int)((long)ctx->data_end - (long)ctx->data) - FRAME;
	if (moved && bpf_xdp_adjust_head(ctx, moved))
		return XDP_ABORTED;
	void *data = (void *)(long)ctx->data;
	if (data + FRAME > (void *)(long)ctx->data_end)
		return XDP_ABORTED;
	__u32 flow = bench_pick_flow(b);
	bench_write_frame(data, b->frame, flow);

	__u64 turn = b->turn++;
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

/* The least that anything can do that encapsulates: parse, push 20 bytes, write a constant outer header. */
int ipip_floor(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct ethhdr *eth = data, *outer_eth;
	struct iphdr *ip = data + sizeof(*eth);

	if ((void *)(ip + 1) > end || eth->h_proto != bpf_htons(ETH_P_IP) || ip->ihl != 5)
		return XDP_DROP;
	if (bpf_xdp_adjust_head(ctx, -(int)sizeof(*ip)))
		return XDP_DROP;
	data = (void *)(long)ctx->data;
	end = (void *)(long)ctx->data_end;
	outer_eth = data;
	ip = data + sizeof(*outer_eth);
	if ((void *)(ip + 1) > end)
		return XDP_DROP;
	__builtin_memcpy(outer_eth->h_dest, "\x02\x00\x00\x00\x00\x02", ETH_ALEN);
	__builtin_memcpy(outer_eth->h_source, "\x02\x00\x00\x00\x00\x01", ETH_ALEN);
	outer_eth->h_proto = bpf_htons(ETH_P_IP);
	*(__u64 *)ip = __builtin_bswap64(0x4500004600004000ULL);
	*((__u64 *)ip + 1) = __builtin_bswap64(0x400466520a000001ULL);
	ip->daddr = bpf_htonl(0x0a000002);
	return XDP_TX;
}
