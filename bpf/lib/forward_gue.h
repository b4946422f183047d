/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* GUE, variant 1 (draft-ietf-intarea-gue): the packet directly follows an outer IP and a UDP header; its IP version,
 * which begins with the bits 01, tells it from a GUE header. NICs and routers that hash ports tell flows apart by the
 * UDP source port. The checksum is 0 in both IP versions: the inner packet has its own (RFC 6935).
 */
#ifndef XDPLB_FORWARD_GUE_H
#define XDPLB_FORWARD_GUE_H

#include "forward_frame.h"
#include "forward_outer.h"
#include "gue.h"

#define GUE_FIRST_SOURCE_PORT 0xc000
#define GUE_SOURCE_PORTS 0x3fff

static __always_inline void gue_write_udp(void *udp, const struct packet *packet, __u64 hash)
{
	__u16 source_port = GUE_FIRST_SOURCE_PORT | (hash & GUE_SOURCE_PORTS);
	__u16 length = packet->ip_length + UDP_HEADER;

	write_u64(udp, NET16(source_port) | (__u32)NET16(GUE_PORT) << 16 | (__u64)NET16(length) << 32);
}

static __always_inline enum reason forward_gue(struct xdp_md *ctx, const struct packet *packet,
                                               const struct backend *backend, __u64 hash)
{
	__u32 payload = packet->ip_length + UDP_HEADER;
	void *outer;
	enum reason reason;

	if (payload + IPV4_HEADER > backend->mtu)
		return DROP_TOO_BIG;
	reason = frame_open(ctx, packet, backend, IPV4_HEADER + UDP_HEADER, NET16(ETH_P_IP), &outer);
	if (reason != GO_ON)
		return reason;
	outer_write_ipv4(outer, packet, backend, hash, payload, IPPROTO_UDP);
	gue_write_udp(outer + IPV4_HEADER, packet, hash);
	return GO_ON;
}

#ifdef WITH_OUTER_IPV6
static __always_inline enum reason forward_gue6(struct xdp_md *ctx, const struct packet *packet,
                                                const struct backend *backend, __u64 hash)
{
	__u32 payload = packet->ip_length + UDP_HEADER;
	void *outer;
	enum reason reason;

	if (payload + IPV6_HEADER > backend->mtu)
		return DROP_TOO_BIG;
	reason = frame_open(ctx, packet, backend, IPV6_HEADER + UDP_HEADER, NET16(ETH_P_IPV6), &outer);
	if (reason != GO_ON)
		return reason;
	outer_write_ipv6(outer, packet, backend, hash, payload, IPPROTO_UDP);
	gue_write_udp(outer + IPV6_HEADER, packet, hash);
	return GO_ON;
}
#endif

#endif
