/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Replies of NAT backends: told by their source alone, which is configuration, so that no record is needed and a reply may
 * pass any balancer. The source becomes the VIP's, and the kernel's routes say where the client is.
 */
#ifndef XDPLB_NAT_H
#define XDPLB_NAT_H

#include "answer.h"
#include "backend.h"
#include "check.h"
#include "classify.h"
#include "forward_frame.h"
#include "fragment.h"
#include "journey.h"
#include "maps.h"
#include "nat_find.h"
#include "nat_rewrite.h"
#include "too_big.h"

#define NAT_AF_INET 2
#define NAT_AF_INET6 10

static __always_inline int nat_is_from(const struct packet *packet, const struct backend *backend)
{
	if (!backend || backend->forward != FORWARD_NAT)
		return 0;
	if (packet->version == 6)
		return backend->flags & BACKEND_IPV6 && packet->source[0] == backend->v6.address[0] &&
		       packet->source[1] == backend->v6.address[1];
	return !(backend->flags & BACKEND_IPV6) && packet->source[0] == backend->v4.address;
}

/* The same for a non-first fragment, by where its first one went, as long as that is the same backend. */
static __always_inline __u32 nat_find_fragment(const struct packet *packet)
{
	struct fragment_key key = fragment_key_of(packet);
	struct fragment *first = fragments.lookup(&key);
	struct backend *backend;

	if (!first || first->last_seen + FRAGMENT_NS < bpf_ktime_get_coarse_ns())
		return NO_BACKEND;
	backend = backend_find(first->backend);
	return nat_is_from(packet, backend) && backend->epoch == first->epoch ? first->backend : NO_BACKEND;
}

/* Whether this is a non-first fragment of a reply. Its client's address may have VIPs, such as those of a prefix around it,
 * but it is no request: only its first fragment has shown that.
 */
static __always_inline int nat_is_fragment(const struct packet *packet)
{
	return packet_blur(packet,
	                   packet->class == CLASS_FRAGMENT && nat_find_fragment(packet) != NO_BACKEND);
}

/* Whether this reply is for somebody who has asked the backend itself, and would not recognise one that comes from the VIP.
 * Its other fragments follow the first one, of which nothing is recorded.
 */
static __always_inline int nat_is_direct(const struct packet *packet, __u32 id)
{
#ifdef WITH_NAT_DIRECT
	struct nat_direct_key key;

	if (packet_is_later_fragment(packet))
		return 0;
	key = (struct nat_direct_key){
		.length = 32 + (packet->version == 6 ? 128 : 32),
		.backend = id,
		.address = {packet->destination[0], packet->destination[1]},
	};

	return nat_direct.lookup(&key) != NULL;
#else
	return 0;
#endif
}

static __always_inline enum reason nat_check(struct xdp_md *ctx, const struct packet *packet)
{
	if (packet->version == 4 && !check_header_sum(ctx, packet))
		return DROP_BAD_CHECKSUM;
	return packet->ttl <= 1 ? DROP_TTL : GO_ON;
}

/* Returns the next hop to the client if the control plane knows it, else NULL: the kernel is asked then. */
static __always_inline const struct backend *nat_known_hop(const struct packet *packet)
{
	__u32 family = packet->version == 6;
	const struct client_way *way = client_ways.lookup(&family);

	if (!packet->is_plain || !way || !(way->hop.flags & BACKEND_USABLE) ||
	    packet->ip_length > way->hop.mtu || check_is_martian(packet, packet->destination[0]))
		return NULL;
#pragma unroll
	for (int i = 0; i < CLIENT_OTHERS; i++) {
		if (i == CLIENT_FEW && !way->has_more)
			break;
		if ((packet->destination[0] & way->others[i].mask) == way->others[i].network)
			return NULL;
	}
	return &way->hop;
}

/* Asks the kernel for the way to the client, as a packet that comes from the VIP; returns BPF_FIB_LKUP_RET_*. */
static __always_inline long nat_route(struct xdp_md *ctx, const struct packet *packet,
                                      const struct backend *backend, struct bpf_fib_lookup *route)
{
	__builtin_memset(route, 0, sizeof(*route));
	route->l4_protocol = packet->protocol;
	route->tot_len = packet->ip_length;
	route->ifindex = ctx->ingress_ifindex;
	if (packet->version == 6) {
		route->family = NAT_AF_INET6;
		write_u64(route->ipv6_src, backend->v6.source[0]);
		write_u64(route->ipv6_src + 2, backend->v6.source[1]);
		write_u64(route->ipv6_dst, packet->destination[0]);
		write_u64(route->ipv6_dst + 2, packet->destination[1]);
	} else {
		route->family = NAT_AF_INET;
		route->tos = packet->tos;
		route->ipv4_src = backend->v4.source;
		route->ipv4_dst = packet->destination[0];
	}
	return bpf_fib_lookup(ctx, route, sizeof(*route), 0);
}

/* Returns the verdict that sends a frame by this NIC, XDP_PASS if xdplb is not on it. */
static __always_inline int nat_out(struct xdp_md *ctx, __u32 ifindex)
{
	if (ifindex == ctx->ingress_ifindex)
		return XDP_TX;
	return tx_ports.redirect_map(ifindex, XDP_PASS);
}

/* Rewrites the reply, and leaves it to the host to route it, which takes one from its TTL. */
static __always_inline enum reason nat_pass(struct xdp_md *ctx, const struct packet *packet,
                                            const struct backend *backend)
{
	void *ip = (void *)(long)ctx->data + packet_network(packet);
	enum reason reason = nat_rewrite(ctx, packet, ip, backend, NAT_REPLY);

	return reason == GO_ON ? PASS_NAT_REPLY : reason;
}

/* Returns the next hop's MAC and the NIC's, as they lie in a frame. The struct has them the other way round, in its last 12
 * bytes, and on the stack only aligned words may be read.
 */
static __always_inline struct answer_macs nat_macs_of(const struct bpf_fib_lookup *route)
{
	__u64 last = read_u64((const void *)(route + 1) - 8);
	__u64 source = read_u64((const void *)(route + 1) - 16) >> 32 | (last & 0xffff) << 32;
	struct answer_macs macs = {last >> 16 | source << 48, source >> 16};

	return macs;
}

/* Gives the frame an untagged Ethernet header for the next hop, `hop` or else `route`'s; sets `at` to the IP header behind
 * it.
 */
static __always_inline enum reason nat_open(struct xdp_md *ctx, const struct packet *packet,
                                            const struct backend *hop, const struct bpf_fib_lookup *route,
                                            void **at)
{
	void *frame;

#ifdef WITH_VLAN
	if (!packet->is_plain && bpf_xdp_adjust_head(ctx, (int)packet_network(packet) - ETH_HLEN))
		return DROP_NO_HEADROOM;
#endif
	frame = (void *)(long)ctx->data;
	asm volatile("" : "+r"(frame));
	*at = frame + ETH_HLEN;
	if (*at > packet_end(ctx))
		return DROP_INTERNAL;
	if (hop)
		frame_write_macs(frame, hop);
	else
		answer_write_macs(frame, nat_macs_of(route));
	write_u16(frame + 2 * ETH_ALEN, packet->version == 6 ? NET16(ETH_P_IPV6) : NET16(ETH_P_IP));
	return GO_ON;
}

/* Rewrites the reply and sends it to its next hop. */
static __always_inline enum reason nat_send(struct xdp_md *ctx, const struct packet *packet,
                                            const struct backend *backend, const struct backend *hop,
                                            const struct bpf_fib_lookup *route)
{
	enum reason reason;
	void *ip;

	reason = nat_open(ctx, packet, hop, route, &ip);
	return reason == GO_ON ? nat_rewrite(ctx, packet, ip, backend, NAT_REPLY | NAT_ROUTED) : reason;
}

/* Returns GO_ON for a reply that was sent, with its verdict in the journey; why it was not; or `reason`, for which the
 * packet is not ours, if it is no reply.
 */
static __always_inline enum reason nat_reply(struct xdp_md *ctx, struct packet *packet,
                                             struct journey *journey, enum reason reason)
{
	const struct backend *hop;
	struct bpf_fib_lookup route;
	struct choice *choice = &journey->choice;
	long found = BPF_FIB_LKUP_RET_SUCCESS;
	__u32 id = packet_is_later_fragment(packet) ? nat_find_fragment(packet) : nat_find(packet);

	if (id == NO_BACKEND)
		return reason;
	choice->backend = backend_find(id);
	if (!nat_is_from(packet, choice->backend) || nat_is_direct(packet, id))
		return reason;
	packet->class = CLASS_REPLY;
	hop = nat_known_hop(packet);
	if (!hop)
		found = nat_route(ctx, packet, choice->backend, &route);
	/* To the host itself, which has asked from an address of its own; or the host is no router, and has it as it is. */
	if (found == BPF_FIB_LKUP_RET_NOT_FWDED || found == BPF_FIB_LKUP_RET_FWD_DISABLED)
		return reason;
	choice->id = id;
	DECISION_NOTE(choice, chosen, CHOSEN_REPLY);
	DECISION_FLAG(choice, DECISION_VIP);
	journey->vip_id = choice->backend->vip;
	reason = nat_check(ctx, packet);
	if (reason != GO_ON)
		return rarely(packet, reason);
	if (found == BPF_FIB_LKUP_RET_FRAG_NEEDED)
		return too_big_answer(ctx, packet, route.mtu_result);
	if (found != BPF_FIB_LKUP_RET_SUCCESS)
		return nat_pass(ctx, packet, choice->backend);
	journey->reply_ifindex = hop ? hop->ifindex : route.ifindex;
	journey->verdict = nat_out(ctx, journey->reply_ifindex);
	if (journey->verdict == XDP_PASS)
		return nat_pass(ctx, packet, choice->backend);
	return nat_send(ctx, packet, choice->backend, hop, &route);
}

#endif
