/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* The class of a packet, which decides what each later stage does with it.
 *
 * Whoever adds a direction adds a class here, tells it from the others in classify_headers or by a lookup in
 * classify_packet, and gives it a case in the stages of xdplb.c. Replies for NAT are told by a lookup of their own, once a
 * packet is known to be for no VIP, so that requests do not pay for it.
 */
#ifndef XDPLB_CLASSIFY_H
#define XDPLB_CLASSIFY_H

#include "icmp.h"
#include "packet.h"
#include "vip.h"

#ifdef WITH_VLAN
#include "vlan.h"
#endif

enum packet_class {
	CLASS_REQUEST,      /* TCP or UDP of a client, with ports: a whole packet or a first fragment */
	CLASS_ICMP_ERROR,   /* about a packet of a backend; addresses, ports and protocol are turned round */
	CLASS_PING,         /* an echo request */
	CLASS_FRAGMENT,     /* a non-first fragment: no ports, it follows the first one */
	CLASS_REPLY,        /* of a NAT backend, to a client; lib/nat.h tells it from what is not ours */
	CLASS_NOT_OURS,     /* passed to the host, as is what follows */
	CLASS_TUNNEL_ERROR, /* an ICMP error about a packet that we may have sent to a backend */
};

/* Whether the packet names a flow, and so a VIP, by addresses, ports and protocol. */
static __always_inline int classify_has_flow(const struct packet *packet)
{
	return packet->class == CLASS_REQUEST || packet->class == CLASS_ICMP_ERROR;
}

/* `cursor` is at the ICMP header. Of an error, `packet` then has the flow that it is about. */
static __always_inline enum packet_class classify_icmp(const struct cursor *cursor, struct packet *packet)
{
	const void *message = cursor->at;
	struct cursor quote = {.end = cursor->end};
	__u32 length = packet->ip_length - packet->transport;
	__u16 type;
	__u8 protocol;

	/* One pointer, or the compiler compares one and reads from another, of which the verifier knows nothing. */
	asm volatile("" : "+r"(message));
	quote.at = (void *)message + ICMP_HEADER;
	if (length < ICMP_HEADER || quote.at > quote.end)
		return CLASS_NOT_OURS;
	type = *(__u16 *)message;
	if (icmp_is_ping(packet, type))
		return CLASS_PING;
	if (!icmp_is_error(packet, type))
		return CLASS_NOT_OURS;
	protocol = icmp_turn_round(&quote, packet, length - ICMP_HEADER);
	if (protocol == IPPROTO_TCP || protocol == IPPROTO_UDP)
		return CLASS_ICMP_ERROR;
	return icmp_is_ipip(protocol) ? CLASS_TUNNEL_ERROR : CLASS_NOT_OURS;
}

/* Returns the class as far as the headers tell it. `cursor` is at the transport header. */
static __always_inline enum packet_class classify_headers(const struct cursor *cursor, struct packet *packet)
{
	__u8 icmp = packet->version == 6 ? IPPROTO_ICMPV6 : IPPROTO_ICMP;

	if (packet->protocol == IPPROTO_TCP || packet->protocol == IPPROTO_UDP)
		return packet_is_later_fragment(packet) ? CLASS_FRAGMENT : CLASS_REQUEST;
	if (packet->protocol == icmp && packet->fragment == FRAGMENT_NONE)
		return classify_icmp(cursor, packet);
	/* In IPv6, the next header of any but the first fragment says nothing (RFC 8200, 4.5). */
	if (packet->version == 6 && packet_is_later_fragment(packet))
		return CLASS_FRAGMENT;
	return CLASS_NOT_OURS;
}

/* However the packet was parsed, the rest of the program is the same to the verifier. */
static __always_inline void classify_blur(struct packet *packet)
{
	packet->protocol = packet_blur(packet, packet->protocol);
	packet->tcp_flags = packet_blur(packet, packet->tcp_flags);
	packet->fragment = packet_blur(packet, packet->fragment);
	packet->class = packet_blur(packet, packet->class);
#if defined(WITH_QUIC) || defined(WITH_NAT)
	packet->transport = packet_blur(packet, packet->transport);
#endif
#ifdef WITH_NAT
	packet->quoted = packet_blur(packet, packet->quoted);
#endif
#ifdef WITH_VLAN
	packet->ethernet = packet_blur(packet, packet->ethernet) & VLAN_ETHERNET_BITS;
#endif
}

/* Returns why a packet with a class of its own is passed to the host if it is not for a VIP. */
static __always_inline enum reason classify_not_ours(const struct packet *packet)
{
	if (packet->class == CLASS_REQUEST)
		return PASS_NO_VIP;
	if (packet->class == CLASS_FRAGMENT)
		return PASS_FRAGMENT;
	return icmp_is_about_gue(packet) ? PASS_TUNNEL_ERROR : PASS_NOT_TCP_UDP;
}

/* Sets the packet's class, and copies the VIP that its flow names, if it names one. Returns GO_ON, or why the packet is
 * not ours: only packets for a VIP, or for an address that has VIPs, are.
 */
static __always_inline enum reason classify_packet(const struct cursor *cursor, struct packet *packet,
                                                   struct vip *vip)
{
	int is_ours;

	if (packet->is_plain) {
		packet->class = CLASS_REQUEST;
		return vip_of_packet(packet, vip) ? GO_ON : PASS_NO_VIP;
	}
	packet->class = classify_headers(cursor, packet);
	if (packet->class >= CLASS_NOT_OURS)
		return packet->class == CLASS_NOT_OURS ? PASS_NOT_TCP_UDP : PASS_TUNNEL_ERROR;
	/* Before the blur, which a ping does not need: its own path is short. */
	if (packet->class == CLASS_PING)
		return vip_has_address(packet) ? GO_ON : PASS_NOT_TCP_UDP;
	classify_blur(packet);
	is_ours = classify_has_flow(packet) ? vip_of_packet(packet, vip) : vip_has_address(packet);
	return is_ours ? GO_ON : classify_not_ours(packet);
}

/* Returns what to do with a packet that could not be parsed, for `reason`: it is ours to drop only if its address has
 * VIPs.
 */
static __always_inline enum reason classify_malformed(const struct packet *packet, enum reason reason)
{
	if (reason == PASS_MALFORMED)
		return reason;
	return vip_has_address(packet) ? reason : PASS_MALFORMED;
}

#endif
