/* SPDX-License-Identifier: Apache-2.0 */
/* Real frames for the bench of forwarding: what makes them, what counts those that arrive, and the floors between.
 *
 * The generator runs by BPF_PROG_TEST_RUN with live frames: what it redirects is sent. The kernel takes the frames' pages
 * up again with all that was written to them, and gives them their first length back.
 */
#include <uapi/linux/bpf.h>
#include <uapi/linux/if_ether.h>
#include <uapi/linux/ip.h>

#include "frame.h"

#define PATTERNS 12 /* sent in turn: an IMIX is one of 12 */

struct generator {
	__u64 turn;
	__u64 turns;
	__u64 start;
	__u64 end;
	__u64 random;
	__u32 flows; /* a power of two */
	__u32 next;  /* of the patterns */
	struct pattern frames[PATTERNS];
};

BPF_TABLE_PINNED("percpu_array", __u32, struct generator, generators, 1, PIN_DIR "/generators");
BPF_TABLE_PINNED("percpu_array", __u32, __u64, arrived, 1, PIN_DIR "/arrived");

/* bcc has no word for a devmap_hash: those that are pinned are what is used. One lies in the generator's namespace, the
 * other in the balancer's.
 */
BPF_XDP_REDIRECT_MAP("devmap:" PIN_DIR "/wire", __u32, wire, 1);
BPF_XDP_REDIRECT_MAP("devmap:" PIN_DIR "/onward", __u32, onward, 1);

int generate(struct xdp_md *ctx)
{
	__u32 zero = 0;
	struct generator *g = generators.lookup(&zero);
	if (!g)
		return XDP_ABORTED;

	__u64 turn = g->turn++;
	if (turn == 0)
		g->start = bpf_ktime_get_ns();
	if (turn + 1 == g->turns)
		g->end = bpf_ktime_get_ns();
	__u32 number = g->next;
	if (number >= PATTERNS)
		return XDP_ABORTED;
	g->next = number + 1 < PATTERNS ? number + 1 : 0;
	struct pattern *frame = &g->frames[number];
	int growth = (int)frame->length - (int)((long)ctx->data_end - (long)ctx->data);
	if (growth && bpf_xdp_adjust_tail(ctx, growth))
		return XDP_ABORTED;
	g->random = frame_random(g->random);
	__u32 flow = (__u32)(g->random >> 32) & (g->flows - 1);
	if (!frame_write((void *)(long)ctx->data, (void *)(long)ctx->data_end, frame, flow))
		return XDP_ABORTED;
	return wire.redirect_map(0, 0);
}

int count(struct xdp_md *ctx)
{
	__u32 zero = 0;
	__u64 *frames = arrived.lookup(&zero);

	if (frames)
		*frames += 1;
	return XDP_DROP;
}

static __always_inline int swap_macs(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data;
	struct ethhdr *eth = data;
	__u8 mac[ETH_ALEN];

	if (data + sizeof(*eth) > (void *)(long)ctx->data_end)
		return -1;
	__builtin_memcpy(mac, eth->h_dest, ETH_ALEN);
	__builtin_memcpy(eth->h_dest, eth->h_source, ETH_ALEN);
	__builtin_memcpy(eth->h_source, mac, ETH_ALEN);
	return 0;
}

int swap_back(struct xdp_md *ctx)
{
	return swap_macs(ctx) ? XDP_DROP : XDP_TX;
}

int swap_onward(struct xdp_md *ctx)
{
	return swap_macs(ctx) ? XDP_DROP : onward.redirect_map(0, 0);
}
