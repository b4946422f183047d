/* Taking an outer IPv4 header off. */
#ifndef XDPLB_DECAP_H
#define XDPLB_DECAP_H

#include <uapi/linux/bpf.h>
#include <uapi/linux/if_ether.h>
#include <uapi/linux/in.h>
#include <uapi/linux/ip.h>

#include "checksum.h"
#include "decap_maps.h"
#include "parse.h"

#define ECN_BITS 0x03
#define ECN_NONE 0x00 /* not ECN-capable */
#define ECN_ECT1 0x01
#define ECN_ECT0 0x02
#define ECN_CE 0x03

struct tunnel {
	__u32 header; /* length of the outer header in bytes, with options */
	__u8 ecn;     /* of the outer header */
};

/* Whether both headers and what they say of their lengths fit into the `room` bytes behind Ethernet. */
static __always_inline int tunnel_fits(const struct iphdr *outer, const struct iphdr *inner, long room)
{
	__u32 header = outer->ihl * 4, outer_length = NET16(outer->tot_len),
	      inner_length = NET16(inner->tot_len);

	return outer_length <= room && inner->version == 4 && inner->ihl * 4 >= sizeof(*inner) &&
	       inner_length >= inner->ihl * 4 && header + inner_length <= outer_length;
}

/* Fills `tunnel` and returns DECAP_UNWRAPPED if the frame is whole IPv4 in IPv4 for this host, else why it stays. */
static __always_inline enum decap_reason tunnel_parse(struct xdp_md *ctx, struct tunnel *tunnel)
{
	struct cursor cursor = {(void *)(long)ctx->data, (void *)(long)ctx->data_end};
	struct iphdr *outer, *inner;
	__be32 destination;

	if (parse_ethernet(&cursor) != GO_ON)
		return DECAP_PASS_OTHER;
	outer = cursor.at;
	if ((void *)(outer + 1) > cursor.end)
		return DECAP_PASS_MALFORMED;
	destination = outer->daddr;
	if (outer->protocol != IPPROTO_IPIP || !decap_addresses.lookup(&destination))
		return DECAP_PASS_OTHER;
	tunnel->header = outer->ihl * 4;
	tunnel->ecn = outer->tos & ECN_BITS;
	if (outer->frag_off & IP_FRAGMENT)
		return DECAP_PASS_FRAGMENT;
	inner = cursor.at + tunnel->header;
	if (outer->version != 4 || tunnel->header < sizeof(*outer) || (void *)(inner + 1) > cursor.end ||
	    !tunnel_fits(outer, inner, cursor.end - cursor.at))
		return DECAP_PASS_MALFORMED;
	return DECAP_UNWRAPPED;
}

/* The tunnel ends at the NIC, so that what is inside seems to come from its neighbours. What only they may send, such as
 * VRRP or OSPF, must not come from further off that way.
 */
static __always_inline int tunnel_is_martian(const struct iphdr *inner)
{
	__u8 first = inner->daddr; /* as it lies in memory: the lowest byte is the first one */

	return first == 0 || first == 127 || first >= 224;
}

/* RFC 6040, figure 4. The inner ECN field becomes what the whole path says; DSCP stays the inner one. */
static __always_inline __u8 tunnel_ecn(__u8 outer, __u8 inner)
{
	if (inner == ECN_NONE || inner == ECN_CE)
		return inner;
	return outer == ECN_CE || outer == ECN_ECT1 ? outer : inner;
}

static __always_inline void tunnel_set_ecn(struct iphdr *ip, __u8 ecn)
{
	__u16 *first = (__u16 *)ip; /* version, IHL and TOS: the checksum's unit */
	__u16 before = *first;

	if (ecn == (ip->tos & ECN_BITS))
		return;
	ip->tos = (ip->tos & ~ECN_BITS) | ecn;
	ip->check = checksum_update(ip->check, before, *first);
}

/* Moves Ethernet's header behind the outer one and cuts what is in front of it. */
static __always_inline enum decap_reason tunnel_unwrap(struct xdp_md *ctx, const struct tunnel *tunnel)
{
	void *end = (void *)(long)ctx->data_end;
	struct ethhdr *old = (void *)(long)ctx->data;
	struct ethhdr *ethernet = (void *)old + (tunnel->header & 0x3c);
	struct iphdr *inner = (void *)(ethernet + 1);
	__u8 inner_ecn;

	if ((void *)(old + 1) > end || (void *)(inner + 1) > end)
		return DECAP_DROP_INTERNAL;
	if (tunnel_is_martian(inner))
		return DECAP_DROP_MARTIAN;
	inner_ecn = inner->tos & ECN_BITS;
	if (tunnel->ecn == ECN_CE && inner_ecn == ECN_NONE)
		return DECAP_DROP_ECN;
	tunnel_set_ecn(inner, tunnel_ecn(tunnel->ecn, inner_ecn));
	*ethernet = *old; /* the outer header is at least 20 bytes: the two do not overlap */
	return bpf_xdp_adjust_head(ctx, tunnel->header) ? DECAP_DROP_INTERNAL : DECAP_UNWRAPPED;
}

#endif
