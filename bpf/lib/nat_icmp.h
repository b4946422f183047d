/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* What NAT writes into an ICMP error, so that its receiver finds in it what it has sent: the backend's address and port
 * instead of the VIP's as source of the reply that is quoted, the VIP's instead of the backend's as destination of the
 * request. All checksums are updated: those of the quoted headers, as far as they are quoted, and the message's own.
 */
#ifndef XDPLB_NAT_ICMP_H
#define XDPLB_NAT_ICMP_H

#include "bytes.h"
#include "checksum.h"
#include "classify.h"
#include "icmp.h"
#include "nat_rewrite.h"

#define NAT_ICMP_CHECKSUM 2

static __always_inline int nat_icmp_is_error(const struct packet *packet)
{
	return !packet->is_plain && packet->class == CLASS_ICMP_ERROR;
}

/* Whether the address in the error's own header is rewritten too: a router behind the backend keeps its own. */
static __always_inline int nat_icmp_is_of_backend(const void *ip, const struct packet *packet, int way)
{
	if (way & NAT_REQUEST)
		return 1;
	if (packet->version == 6)
		return read_u64(ip + 8) == packet->source[0] && read_u64(ip + 16) == packet->source[1];
	return read_u32(ip + 12) == packet->source[0];
}

/* Takes one from the TTL alone. */
static __always_inline void nat_icmp_write_ttl(void *ip, const struct packet *packet, int way)
{
	if (!(way & NAT_ROUTED))
		return;
	if (packet->version == 6) {
		*(__u8 *)(ip + 7) -= 1;
		return;
	}
	*(__u8 *)(ip + 8) -= 1;
	write_u16(ip + 10, checksum_fold32((__u16)~read_u16(ip + 10) + NAT_TTL_SUM));
}

/* Writes the address into the quoted IP header, on the other side of it than in a packet that goes this way; `sum` is
 * what that changes checksums by. Returns what the message's checksum changes by, at most 0x2fffd.
 */
static __always_inline __u32 nat_icmp_write_header(void *ip, const struct packet *packet,
                                                   const struct backend *backend, int way, __u32 sum)
{
	const __u64 *address = way & NAT_REPLY ? backend->v6.source : backend->v6.address;
	void *at = ip + (way & NAT_REPLY ? 24 : 8);
	__u16 before, after;

	if (packet->version == 6) {
		write_u64(at, address[0]);
		write_u64(at + 8, address[1]);
		return sum;
	}
	before = read_u16(ip + 10);
	after = checksum_fold32((__u16)~before + sum);
	write_u16(ip + 10, after);
	if (way & NAT_REPLY)
		write_u32(ip + 16, backend->v4.source);
	else
		write_u32(ip + 12, backend->v4.address);
	return sum + (__u16)~before + after;
}

/* Updates the quoted checksum at `at` by `sum`; returns what the message's own changes by. */
static __always_inline __u32 nat_icmp_write_checksum(void *at, int is_udp, __u64 sum)
{
	__u16 before = read_u16(at), after;

	if (is_udp && !before)
		return 0;
	after = checksum_fold32((__u16)~before + sum);
	if (is_udp && !after)
		after = 0xffff;
	write_u16(at, after);
	return (__u16)~before + after;
}

/* Writes the port into the quoted TCP or UDP header, of which 8 bytes are there, and its checksum if that is quoted:
 * `left` is the length of what is quoted of it. Returns what the message's checksum changes by, at most 0x3fffc.
 */
static __always_inline __u32 nat_icmp_write_transport(void *transport, const void *end, __u32 left,
                                                      const struct packet *packet,
                                                      const struct backend *backend, int way, __u32 sum)
{
	__u32 port = nat_write_port(transport + (way & NAT_REPLY ? 2 : 0), backend, way);

	if (packet_blur(packet, packet->protocol) == IPPROTO_UDP)
		return port + nat_icmp_write_checksum(transport + NAT_UDP_CHECKSUM, 1, sum + port);
	if (left < NAT_TCP_CHECKSUM + 2 || transport + NAT_TCP_CHECKSUM + 2 > end)
		return port;
	return port + nat_icmp_write_checksum(transport + NAT_TCP_CHECKSUM, 0, sum + port);
}

/* Makes the change in the ICMP error whose IP header is at `ip`, as nat_rewrite does in other packets. */
static __always_inline enum reason nat_icmp_rewrite(struct xdp_md *ctx, const struct packet *packet, void *ip,
                                                    const struct backend *backend, int way)
{
	const void *end = packet_end(ctx);
	__u32 header = packet->version == 6 ? IPV6_HEADER : IPV4_HEADER;
	__u32 message = packet_blur(packet, packet->transport) & NAT_TRANSPORT_MOST;
	__u32 behind = (packet_blur(packet, packet->quoted) & NAT_TRANSPORT_MOST) + ICMP_HEADER;
	__u32 address = nat_address_sum(backend, way);
	void *icmp, *transport;
	__u64 sum;

	asm volatile("" : "+r"(ip));
	icmp = ip + message;
	asm volatile("" : "+r"(icmp));
	transport = icmp + behind;
	asm volatile("" : "+r"(transport));
	if (ip + header > end || icmp + ICMP_HEADER + header > end || transport + QUOTED_TRANSPORT > end)
		return DROP_INTERNAL;
	sum = (__u16)~read_u16(icmp + NAT_ICMP_CHECKSUM);
	if (!nat_icmp_is_of_backend(ip, packet, way)) {
		nat_icmp_write_ttl(ip, packet, way);
	} else if (packet->version == 6) {
		nat_write_ipv6(ip, backend, way);
		sum += address; /* of ICMPv6's pseudo-header */
	} else {
		nat_write_ipv4(ip, backend, way);
	}
	sum += nat_icmp_write_header(icmp + ICMP_HEADER, packet, backend, way, address);
	sum += nat_icmp_write_transport(transport, end, packet->ip_length - message - behind, packet, backend,
	                                way, address);
	write_u16(icmp + NAT_ICMP_CHECKSUM, checksum_fold32(sum));
	return GO_ON;
}

#endif
