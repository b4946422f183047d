/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Packets in tunnels that end at the balancer: another tier of balancers, or a scrubbing centre, has sent them. What is
 * inside is balanced as any packet. They are unwrapped as on a backend (decap.h), once: a tunnel in a tunnel is the
 * host's.
 */
#ifndef XDPLB_UNWRAP_H
#define XDPLB_UNWRAP_H

#include "decap.h"
#include "decision.h"
#include "gue.h"
#include "maps.h"
#include "packet.h"
#include "parse.h"

#ifdef WITH_DECAP

#define UNWRAP_ETHERNET_BITS 0x1e /* 14, 18 or 22 */
#define UNWRAP_OPTIONS_BITS 0x3c

/* Whether UDP's header is at `udp`, and its datagram is GUE's. */
static __always_inline int unwrap_is_gue(const void *udp, const void *end)
{
	asm volatile("" : "+r"(udp)); /* one pointer: what is compared is what is read from */
	return udp + UDP_HEADER <= end && read_u16(udp + 2) == NET16(GUE_PORT);
}

/* Whether a packet of this Ethernet type has what a tunnel has: IPIP, or GUE that is not a fragment. What else is sent to the
 * host is not looked up.
 */
static __always_inline int unwrap_is_tunnel(const struct cursor *cursor, __be16 type)
{
	const __u8 *ip = cursor->at;
	__u32 header = IPV6_HEADER;
	__u8 protocol;

	if (type == NET16(ETH_P_IPV6)) {
		if ((void *)ip + IPV6_HEADER > cursor->end)
			return 0;
		protocol = ip[6];
	} else if (type == NET16(ETH_P_IP)) {
		if ((void *)ip + IPV4_HEADER > cursor->end)
			return 0;
		protocol = ip[9];
		header = *ip << 2 & UNWRAP_OPTIONS_BITS;
		if (protocol == IPPROTO_UDP && read_u16(ip + 6) & IP_FRAGMENT)
			return 0;
	} else {
		return 0;
	}
	if (protocol == IPPROTO_IPIP || protocol == IPPROTO_IPV6)
		return 1;
	return protocol == IPPROTO_UDP && unwrap_is_gue((void *)ip + header, cursor->end);
}

/* Returns GO_ON if packets of this tunnel are taken; PASS_NO_VIP if it does not end here. */
static __always_inline enum reason unwrap_admit(const struct cursor *cursor, __be16 type)
{
	struct tunnel_key key = {.bits = TUNNEL_KEY_BITS};
	const __u32 *is_allowed;

	if (tunnel_find(cursor, type, &key.ends) != DECAP_UNWRAPPED)
		return PASS_NO_VIP;
	is_allowed = tunnel_sources.lookup(&key);
	if (!is_allowed)
		return PASS_NO_VIP;
	return *is_allowed ? GO_ON : DROP_TUNNEL_SOURCE;
}

/* Returns why a packet of a tunnel stops that a backend would not unwrap. */
static __always_inline enum reason unwrap_reason(enum decap_reason reason)
{
	switch (reason) {
	case DECAP_DROP_ECN:
		return DROP_ECN;
	case DECAP_DROP_MARTIAN:
		return DROP_MARTIAN;
	case DECAP_DROP_BAD_CHECKSUM:
		return DROP_BAD_CHECKSUM;
	case DECAP_DROP_INTERNAL:
		return DROP_INTERNAL;
	default:
		return PASS_TUNNEL;
	}
}

static __always_inline void unwrap_count(void)
{
	__u32 zero = 0;
	__u64 *packets = unwrapped_packets.lookup(&zero);

	if (packets && CHANGES_MAPS)
		*packets += 1;
}

/* Returns GO_ON if the packet was taken out of its tunnel, which is `type` then; PASS_NO_VIP if it is in none that ends here;
 * else why it stops. The cursor is at the outer header.
 */
static __always_inline enum reason unwrap_packet(struct xdp_md *ctx, struct cursor cursor, __u32 ethernet,
                                                 __be16 *type)
{
	struct tunnel tunnel;
	enum decap_reason done;
	enum reason reason;

	if (!unwrap_is_tunnel(&cursor, *type))
		return PASS_NO_VIP;
	reason = unwrap_admit(&cursor, *type);
	if (reason != GO_ON)
		return reason;
	done = tunnel_parse(&cursor, *type, &tunnel);
	if (done == DECAP_UNWRAPPED)
		done = tunnel_unwrap(ctx, &tunnel, ethernet, TUNNEL_ROUTES);
	if (done != DECAP_UNWRAPPED)
		return unwrap_reason(done);
	unwrap_count();
	*type = tunnel.version == 4 ? NET16(ETH_P_IP) : NET16(ETH_P_IPV6);
	return GO_ON;
}

/* Puts the cursor behind the Ethernet header of `length` bytes. However the program came here, the rest of it is the same to
 * the verifier (docs/verifier.md). Returns 0, which the verifier does not know.
 */
static __always_inline __u64 unwrap_blur(struct xdp_md *ctx, struct cursor *cursor, __u32 length)
{
	__u64 zero;

	cursor->at = (void *)(long)ctx->data;
	cursor->end = packet_end(ctx);
	zero = (__u64)(cursor->end - cursor->at) >> 32;
#ifdef WITH_VLAN
	length = (length ^ zero) & UNWRAP_ETHERNET_BITS;
	asm volatile("" : "+r"(length));
#endif
	cursor->at += length;
	return zero;
}

/* Takes the packet out of its tunnel, if it is in one that ends here: the cursor is then at the packet inside, and `type` is
 * its type. Returns GO_ON whether that was done or not, or why the packet stops. The cursor is behind the Ethernet header
 * and its tags, which are to one host.
 */
static __always_inline enum reason unwrap(struct xdp_md *ctx, struct cursor *cursor, __be16 *type)
{
	__u32 ethernet = parse_ethernet_length(ctx, cursor) & UNWRAP_ETHERNET_BITS;
	enum reason reason;
	__u64 result = *type ^ unwrap_blur(ctx, cursor, ethernet);

	asm volatile("" : "+r"(result));
	*type = result;
	reason = unwrap_packet(ctx, *cursor, ethernet, type);
	if (reason != GO_ON && reason != PASS_NO_VIP)
		return reason;
	result = *type ^ unwrap_blur(ctx, cursor, ethernet);
	asm volatile("" : "+r"(result));
	*type = result;
	return GO_ON;
}

#endif

#endif
