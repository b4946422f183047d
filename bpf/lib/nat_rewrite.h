/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* What NAT writes into a packet: the backend's address and port instead of the VIP's as destination of a request, the
 * VIP's instead of the backend's as source of a reply. Checksums are updated, not computed anew (RFC 1624, equation 3),
 * so that what was damaged on its way stays so.
 */
#ifndef XDPLB_NAT_REWRITE_H
#define XDPLB_NAT_REWRITE_H

#include "bytes.h"
#include "checksum.h"
#include "layout.h"
#include "packet.h"

#define NAT_TTL_SUM 0xfffe        /* what the sum of a header's words changes by if the TTL is one less */
#define NAT_TRANSPORT_MOST 0x3fff /* as EXTENSIONS_BITS */
#define NAT_TCP_CHECKSUM 16
#define NAT_UDP_CHECKSUM 6

/* Which way a packet goes, as constants. */
#define NAT_REQUEST 0x01
#define NAT_REPLY 0x02
#define NAT_ROUTED 0x04 /* by us: the TTL is one less */

/* Returns what the change of address changes checksums by, 16 bits. */
static __always_inline __u32 nat_address_sum(const struct backend *backend, int way)
{
	__u16 sum = NAT_SUM(backend->checksum);

	return way & NAT_REPLY ? (__u16)~sum : sum;
}

static __always_inline void nat_write_ipv4(void *ip, const struct backend *backend, int way)
{
	__u64 sum = (__u16)~read_u16(ip + 10) + nat_address_sum(backend, way);

	if (way & NAT_ROUTED) {
		*(__u8 *)(ip + 8) -= 1;
		sum += NAT_TTL_SUM;
	}
	write_u16(ip + 10, checksum_fold32(sum));
	if (way & NAT_REPLY)
		write_u32(ip + 12, backend->v4.source);
	else
		write_u32(ip + 16, backend->v4.address);
}

static __always_inline void nat_write_ipv6(void *ip, const struct backend *backend, int way)
{
	const __u64 *address = way & NAT_REPLY ? backend->v6.source : backend->v6.address;
	void *at = ip + (way & NAT_REPLY ? 8 : 24);

	if (way & NAT_ROUTED)
		*(__u8 *)(ip + 7) -= 1;
	write_u64(at, address[0]);
	write_u64(at + 8, address[1]);
}

/* Writes the port at `at`; returns what checksums change by, at most 0x1fffe. */
static __always_inline __u32 nat_write_port(void *at, const struct backend *backend, int way)
{
	__u16 shift = NAT_SHIFT(backend->checksum);
	__u16 before = read_u16(at);
	__u16 after = NET16((__u16)(NET16(before) + (way & NAT_REPLY ? -shift : shift)));

	write_u16(at, after);
	return (__u16)~before + after;
}

/* A UDP checksum of 0 says that there is none (RFC 768): it stays so, and no other becomes 0. */
static __always_inline void nat_write_udp(void *transport, __u64 sum)
{
	__u16 before = read_u16(transport + NAT_UDP_CHECKSUM), after;

	if (!before)
		return;
	after = checksum_fold32((__u16)~before + sum);
	write_u16(transport + NAT_UDP_CHECKSUM, after ? after : 0xffff);
}

static __always_inline void nat_write_tcp(void *transport, __u64 sum)
{
	__u16 before = read_u16(transport + NAT_TCP_CHECKSUM);

	write_u16(transport + NAT_TCP_CHECKSUM, checksum_fold32((__u16)~before + sum));
}

/* Rewrites TCP's or UDP's header at `transport`; returns GO_ON, or that it is not in the frame. */
static __always_inline enum reason nat_write_transport(void *transport, const void *end,
                                                       const struct packet *packet,
                                                       const struct backend *backend, int way)
{
	__u32 sum = nat_address_sum(backend, way);
	int port = way & NAT_REPLY ? 0 : 2;

	/* One pointer: the verifier knows the bounds only of the one that was compared. */
	asm volatile("" : "+r"(transport));
	if (packet->protocol == IPPROTO_UDP) {
		if (transport + UDP_HEADER > end)
			return DROP_INTERNAL;
		nat_write_udp(transport, sum + nat_write_port(transport + port, backend, way));
		return GO_ON;
	}
	if (transport + TCP_HEADER > end)
		return DROP_INTERNAL;
	nat_write_tcp(transport, sum + nat_write_port(transport + port, backend, way));
	return GO_ON;
}

/* Makes the change in the packet whose IP header is at `ip`. Of a non-first fragment only the address: the first one's
 * checksum is that of the whole.
 */
static __always_inline enum reason nat_rewrite(struct xdp_md *ctx, const struct packet *packet, void *ip,
                                               const struct backend *backend, int way)
{
	const void *end = packet_end(ctx);
	__u32 header = packet->version == 6 ? IPV6_HEADER : IPV4_HEADER;
	__u32 transport = packet->is_plain ? header : packet_blur(packet, packet->transport);

	asm volatile("" : "+r"(ip));
	if (ip + header > end)
		return DROP_INTERNAL;
	if (packet->version == 6)
		nat_write_ipv6(ip, backend, way);
	else
		nat_write_ipv4(ip, backend, way);
	if (packet_is_later_fragment(packet))
		return GO_ON;
	return nat_write_transport(ip + (transport & NAT_TRANSPORT_MOST), end, packet, backend, way);
}

#endif
