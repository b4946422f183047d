/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Removes the outer headers. */
#ifndef XDPLB_DECAP_H
#define XDPLB_DECAP_H

#include "decap_ecn.h"
#include "decap_martian.h"
#include "decap_parse.h"

#define TUNNEL_ENDS 0   /* to the host's stack */
#define TUNNEL_ROUTES 1 /* on, to another host */

#define ETHERNET_MOST 22 /* with two tags; any frame that has a packet in a tunnel is longer */

/* Who takes a packet out of a tunnel and sends it on routes it, so its TTL is one less (RFC 2003, 3.1): two balancers that
 * send to each other do not do so for ever. One that has come to its end stays, for the check of packets for VIPs.
 */
static __always_inline void tunnel_route_ipv4(struct iphdr *ip)
{
	__u16 *word = (__u16 *)&ip->ttl; /* with the protocol: the checksum's unit */
	__u16 before = *word;

	if (ip->ttl <= 1)
		return;
	ip->ttl -= 1;
	ip->check = checksum_update(ip->check, before, *word);
}

static __always_inline void tunnel_route_ipv6(struct ipv6hdr *ip)
{
	if (ip->hop_limit > 1)
		ip->hop_limit -= 1;
}

static __always_inline enum decap_reason tunnel_ready_ipv4(struct iphdr *ip, const struct tunnel *tunnel,
                                                           int way)
{
	__u8 ecn = ip->tos & ECN_BITS;

	if (martian_ipv4(ip))
		return DECAP_DROP_MARTIAN;
	if (ecn_is_lost(tunnel->outer_ecn, ecn))
		return DECAP_DROP_ECN;
	ecn_set_ipv4(ip, ecn_merged(tunnel->outer_ecn, ecn));
	if (way == TUNNEL_ROUTES)
		tunnel_route_ipv4(ip);
	return DECAP_UNWRAPPED;
}

static __always_inline enum decap_reason tunnel_ready_ipv6(struct ipv6hdr *ip, const struct tunnel *tunnel,
                                                           void *end, int way)
{
	__u8 ecn = ecn_of_ipv6(ip);

	if (martian_ipv6(ip, end))
		return DECAP_DROP_MARTIAN;
	if (ecn_is_lost(tunnel->outer_ecn, ecn))
		return DECAP_DROP_ECN;
	ecn_set_ipv6(ip, ecn_merged(tunnel->outer_ecn, ecn));
	if (way == TUNNEL_ROUTES)
		tunnel_route_ipv6(ip);
	return DECAP_UNWRAPPED;
}

/* Prepares the inner packet for its way, or returns why it is dropped. */
static __always_inline enum decap_reason tunnel_ready(void *inner, void *end, const struct tunnel *tunnel,
                                                      int way)
{
	if (tunnel->version == 4)
		return inner + sizeof(struct iphdr) > end ? DECAP_DROP_INTERNAL
		                                          : tunnel_ready_ipv4(inner, tunnel, way);
	return inner + sizeof(struct ipv6hdr) > end ? DECAP_DROP_INTERNAL
	                                            : tunnel_ready_ipv6(inner, tunnel, end, way);
}

/* Writes the Ethernet header of `length` bytes, with its tags, in front of the packet inside; `old` is where it was. What
 * is cut off may be shorter than it is long, so all is read first. Both have room for the longest one.
 */
static __always_inline void tunnel_move_ethernet(void *to, const void *old, __u32 length, __be16 type)
{
	__u64 macs = read_u64(old);
	__u32 source = read_u32(old + 8);
	__u32 tags[2] = {read_u32(old + 12), read_u32(old + 16)};

	write_u64(to, macs);
	write_u32(to + 8, source);
	if (length == ETH_HLEN) {
		write_u16(to + 12, type);
		return;
	}
	write_u32(to + 12, tags[0]);
	if (length == ETHERNET_MOST)
		write_u32(to + 16, tags[1]);
	write_u16(to + (length == ETHERNET_MOST ? 20 : 16), type);
}

/* Cuts off the outer headers, behind an Ethernet header of `length` bytes with its tags, 14, 18 or 22. `way` is a constant:
 * where the packet goes then.
 */
static __always_inline enum decap_reason tunnel_unwrap(struct xdp_md *ctx, const struct tunnel *tunnel,
                                                       __u32 length, int way)
{
	void *end = (void *)(long)ctx->data_end;
	void *old = (void *)(long)ctx->data;
	void *frame = old + (tunnel->header & TUNNEL_HEADER_MASK);
	__be16 type = tunnel->version == 4 ? NET16(ETH_P_IP) : NET16(ETH_P_IPV6);
	enum decap_reason reason;

	asm volatile("" : "+r"(frame)); /* one pointer: what is compared is what is written to */
	if (old + ETHERNET_MOST > end || frame + ETHERNET_MOST > end)
		return DECAP_DROP_INTERNAL;
	reason = tunnel_ready(frame + length, end, tunnel, way);
	if (reason != DECAP_UNWRAPPED)
		return reason;
	tunnel_move_ethernet(frame, old, length, type);
	return bpf_xdp_adjust_head(ctx, tunnel->header) ? DECAP_DROP_INTERNAL : DECAP_UNWRAPPED;
}

#endif
