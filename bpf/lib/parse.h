/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* From a frame to what the balancer needs to know about its packet. Nothing is written to the frame or looked up in a
 * map.
 *
 * Each parse_* function checks that the header at the cursor is there, moves the cursor behind it and returns GO_ON, or
 * the reason why the packet goes no further. DROP_* are returned only once the addresses are known: they hold for
 * addresses that have VIPs, any other such packet is the host's (classify_malformed).
 */
#ifndef XDPLB_PARSE_H
#define XDPLB_PARSE_H

#include "bytes.h"
#include "packet.h"
#include "parse_ipv4.h"
#include "parse_transport.h"

#ifdef WITH_IPV6
#include "parse_ipv6.h"
#endif
#ifdef WITH_VLAN
#include "vlan.h"
#endif

#define MAC_GROUP 0x01 /* in the first byte of a MAC: broadcast or multicast (IEEE 802, 8.2) */

/* Returns the type of what follows the Ethernet header and its tags, 0 if that cannot be IP. */
static __always_inline __be16 parse_ethernet(struct cursor *cursor)
{
	__be16 type;

	if (cursor->at + ETH_HLEN > cursor->end)
		return 0;
	type = read_u16(cursor->at + ETH_HLEN - sizeof(type));
	cursor->at += ETH_HLEN;
#ifdef WITH_VLAN
	if (vlan_is_tag(type))
		return vlan_parse(cursor);
#endif
	return type;
}

static __always_inline int parse_is_ip(__be16 type)
{
#ifdef WITH_IPV6
	if (type == NET16(ETH_P_IPV6))
		return 1;
#endif
	return type == NET16(ETH_P_IP);
}

/* Returns the length of the Ethernet header and its tags; the cursor is behind them. */
static __always_inline __u16 parse_ethernet_length(struct xdp_md *ctx, const struct cursor *cursor)
{
#ifdef WITH_VLAN
	return cursor->at - (void *)(long)ctx->data;
#else
	return ETH_HLEN;
#endif
}

static __always_inline enum reason parse_ip(struct cursor *cursor, struct packet *packet)
{
#ifdef WITH_IPV6
	if (packet->version == 6)
		return parse_ipv6(cursor, packet);
#endif
	return parse_ipv4(cursor, packet);
}

/* The cursor is at the IP header, and then at the transport header. Fills `packet`, whose version is set. */
static __always_inline enum reason parse_packet(struct cursor *cursor, struct packet *packet)
{
	enum reason reason = parse_ip(cursor, packet);

	return reason == GO_ON ? parse_transport(cursor, packet) : reason;
}

#endif
