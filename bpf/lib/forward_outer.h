/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* The outer IP headers of tunnels.
 *
 * DSCP and ECN are copied from the inner packet (RFC 6040, normal mode). The outer packet is never fragmented: in IPv4,
 * DF is set and the id is 0 (RFC 6864).
 */
#ifndef XDPLB_FORWARD_OUTER_H
#define XDPLB_FORWARD_OUTER_H

#include "checksum.h"
#include "layout.h"
#include "bytes.h"
#include "packet.h"

#define OUTER_TTL 64
#define IP_DF 0x4000

/* Returns the protocol number in a header that the packet directly follows. */
static __always_inline __u8 outer_protocol(const struct packet *packet)
{
	return packet->version == 6 ? IPPROTO_IPV6 : IPPROTO_IPIP;
}

/* `payload` is the number of bytes behind the header. */
static __always_inline void outer_write_ipv4(struct iphdr *ip, const struct packet *packet,
                                             const struct backend *backend, __u64 hash, __u32 payload,
                                             __u8 protocol)
{
	__u64 mask = backend->v4.source_mask, source = backend->v4.source;
	__u64 tos = (__u64)packet->tos << 8, length = NET16(payload + sizeof(*ip));
	__u64 sum = backend->checksum + tos + length + NET16(IP_DF);

	if (mask) {
		source |= hash & mask;
		sum += checksum_words(hash & mask);
	}
	/* Version, IHL, TOS, length, id 0 and DF in one store */
	write_u64(ip, 0x45 | tos | length << 16 | (__u64)NET16(IP_DF) << 48);
	write_u16(&ip->ttl, OUTER_TTL | protocol << 8);
	write_u16(&ip->check, checksum_fold32(sum));
	write_u32(&ip->saddr, source);
	write_u32(&ip->daddr, backend->v4.address);
}

#ifdef WITH_OUTER_IPV6
/* Routers that hash the flow label tell flows apart by it (RFC 6438). */
static __always_inline void outer_write_ipv6(void *ip, const struct packet *packet,
                                             const struct backend *backend, __u64 hash, __u32 payload,
                                             __u8 protocol)
{
	__u64 varying = (__u32)hash & backend->source_mask;
	__u32 first = 6 << 28 | (__u32)packet->tos << 20 | ((__u32)hash & 0xfffff);

	write_u64(ip, NET32(first) | (__u64)NET16(payload) << 32 | (__u64)protocol << 48 |
	                      (__u64)OUTER_TTL << 56);
	write_u64(ip + 8, backend->v6.source[0]);
	write_u64(ip + 16, backend->v6.source[1] | varying << 32);
	write_u64(ip + 24, backend->v6.address[0]);
	write_u64(ip + 32, backend->v6.address[1]);
}
#endif

#endif
