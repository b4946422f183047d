/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Removes the outer headers. */
#ifndef XDPLB_DECAP_H
#define XDPLB_DECAP_H

#include "decap_ecn.h"
#include "decap_martian.h"
#include "decap_parse.h"

#define TUNNEL_HEADER_MASK 0x7c /* a multiple of 4, at most 60 + 8 + 4: bounds for the verifier */

static __always_inline enum decap_reason tunnel_ready_ipv4(struct iphdr *ip, const struct tunnel *tunnel)
{
	__u8 ecn = ip->tos & ECN_BITS;

	if (martian_ipv4(ip))
		return DECAP_DROP_MARTIAN;
	if (ecn_is_lost(tunnel->outer_ecn, ecn))
		return DECAP_DROP_ECN;
	ecn_set_ipv4(ip, ecn_merged(tunnel->outer_ecn, ecn));
	return DECAP_UNWRAPPED;
}

static __always_inline enum decap_reason tunnel_ready_ipv6(struct ipv6hdr *ip, const struct tunnel *tunnel,
                                                           void *end)
{
	__u8 ecn = ecn_of_ipv6(ip);

	if (martian_ipv6(ip, end))
		return DECAP_DROP_MARTIAN;
	if (ecn_is_lost(tunnel->outer_ecn, ecn))
		return DECAP_DROP_ECN;
	ecn_set_ipv6(ip, ecn_merged(tunnel->outer_ecn, ecn));
	return DECAP_UNWRAPPED;
}

/* Prepares the inner packet for the stack, or returns why it is dropped. */
static __always_inline enum decap_reason tunnel_ready(void *inner, void *end, const struct tunnel *tunnel)
{
	if (tunnel->version == 4)
		return inner + sizeof(struct iphdr) > end ? DECAP_DROP_INTERNAL
		                                          : tunnel_ready_ipv4(inner, tunnel);
	return inner + sizeof(struct ipv6hdr) > end ? DECAP_DROP_INTERNAL
	                                            : tunnel_ready_ipv6(inner, tunnel, end);
}

/* Moves the Ethernet header behind the outer headers and cuts off what is in front of it. */
static __always_inline enum decap_reason tunnel_unwrap(struct xdp_md *ctx, const struct tunnel *tunnel)
{
	void *end = (void *)(long)ctx->data_end;
	struct ethhdr *old = (void *)(long)ctx->data;
	struct ethhdr *ethernet = (void *)old + (tunnel->header & TUNNEL_HEADER_MASK);
	enum decap_reason reason;

	if ((void *)(old + 1) > end || (void *)(ethernet + 1) > end)
		return DECAP_DROP_INTERNAL;
	reason = tunnel_ready(ethernet + 1, end, tunnel);
	if (reason != DECAP_UNWRAPPED)
		return reason;
	*ethernet = *old; /* at least 20 bytes are cut off: the two do not overlap */
	ethernet->h_proto = tunnel->version == 4 ? NET16(ETH_P_IP) : NET16(ETH_P_IPV6);
	return bpf_xdp_adjust_head(ctx, tunnel->header) ? DECAP_DROP_INTERNAL : DECAP_UNWRAPPED;
}

#endif
