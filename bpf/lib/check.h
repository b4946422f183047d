/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* What is checked of every packet that is ours, whichever VIP it is for.
 *
 * Each check is a few instructions: nearly every packet passes them all.
 */
#ifndef XDPLB_CHECK_H
#define XDPLB_CHECK_H

#include "bytes.h"
#include "classify.h"
#include "header_sum.h"
#include "martian.h"
#include "packet.h"

#define TCP_FLAG_BITS 0x3f /* FIN, SYN, RST, PSH, ACK, URG: every segment has at least one of them */

/* Whether the checksum of the IPv4 header is right. */
static __always_inline int check_header_sum(struct xdp_md *ctx, const struct packet *packet)
{
	const void *end = (void *)(long)ctx->data_end;
	const void *header = (void *)(long)ctx->data + packet_network(packet);

	if (header + IPV4_HEADER > end)
		return 0;
	if (packet->transport == IPV4_HEADER)
		return header_sum_is_right(header, 0);
	return header_sum_is_right(header,
	                           header_sum_options(header, end, packet_blur(packet, packet->transport)));
}

/* A packet from its own destination ("land"): the backend would answer itself. */
static __always_inline int check_is_land(const struct packet *packet)
{
	return packet->source[0] == packet->destination[0] &&
	       (packet->version == 4 || packet->source[1] == packet->destination[1]);
}

/* Flags that no TCP sends: none at all, or SYN together with FIN or RST. */
static __always_inline int check_flags_are_forged(__u8 flags)
{
	if ((flags & (TCP_SYN | TCP_ACK)) == TCP_ACK) /* nearly all */
		return 0;
	if (flags & TCP_SYN)
		return flags & (TCP_FIN | TCP_RST);
	return !(flags & TCP_FLAG_BITS);
}

/* `source` is the first word of an address of the packet's version. */
static __always_inline int check_is_martian(const struct packet *packet, __u64 source)
{
	return packet->version == 6 ? martian_source6(source) : martian_source4(source);
}

/* Reads the source in the IP header: of an ICMP error that was turned round, it is the router's. Returns 0, or -1 if it
 * is not in the frame.
 */
static __always_inline int check_read_sender(struct xdp_md *ctx, const struct packet *packet, __u64 sender[2])
{
	const void *header = (void *)(long)ctx->data + packet_network(packet);

	if (header + (packet->version == 6 ? IPV6_HEADER : IPV4_HEADER) > (void *)(long)ctx->data_end)
		return -1;
	sender[0] = packet->version == 6 ? read_u64(header + 8) : read_u32(header + 12);
	sender[1] = packet->version == 6 ? read_u64(header + 16) : 0;
	return 0;
}

/* Checks the router that sent an ICMP error like a client; packet->source is the client that the error names. */
static __always_inline enum reason check_router(struct xdp_md *ctx, const struct packet *packet)
{
	__u64 router[2];

	if (check_read_sender(ctx, packet, router))
		return DROP_INTERNAL;
	if (check_is_martian(packet, router[0]))
		return DROP_MARTIAN;
	return router[0] == packet->destination[0] && router[1] == packet->destination[1] ? DROP_LAND : GO_ON;
}

/* Whether the sender may only reach its own link. */
static __always_inline int check_is_link_local(struct xdp_md *ctx, const struct packet *packet)
{
	__u64 sender[2];

	if (packet->version != 6)
		return 0;
	if (packet->is_plain) /* it is no error, and its source is at hand */
		return martian_is_link_local(packet->source[0]);
	return !check_read_sender(ctx, packet, sender) && martian_is_link_local(sender[0]);
}

/* Returns GO_ON, or why a packet that would be sent to a backend is dropped. */
static __always_inline enum reason check_packet(struct xdp_md *ctx, const struct packet *packet)
{
	if (packet->version == 4 && !check_header_sum(ctx, packet))
		return rarely(packet, DROP_BAD_CHECKSUM);
	if (packet->ttl <= 1)
		return rarely(packet, DROP_TTL);
	if (check_is_martian(packet, packet->source[0]))
		return rarely(packet, DROP_MARTIAN);
	if (check_is_land(packet))
		return rarely(packet, DROP_LAND);
	if (packet->class == CLASS_ICMP_ERROR)
		return check_router(ctx, packet);
	if (packet->class == CLASS_REQUEST && packet->protocol == IPPROTO_TCP &&
	    check_flags_are_forged(packet->tcp_flags))
		return rarely(packet, DROP_TCP_FLAGS);
	return GO_ON;
}

/* Returns GO_ON, or why a ping is not answered. */
static __always_inline enum reason check_ping(struct xdp_md *ctx, const struct packet *packet)
{
	if (packet->version == 4 && !check_header_sum(ctx, packet))
		return DROP_BAD_CHECKSUM;
	if (check_is_martian(packet, packet->source[0]))
		return DROP_MARTIAN;
	return check_is_land(packet) ? DROP_LAND : GO_ON;
}

#endif
