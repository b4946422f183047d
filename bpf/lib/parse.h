/* From a frame to what the balancer needs of it.
 *
 * Each parse_* function starts where the cursor stands, checks that its header is there, moves the cursor behind it
 * and returns GO_ON, or the reason why this packet is not balanced. DROP_BAD_LENGTH and DROP_EXTENSION are meant for
 * addresses with VIPs and returned only where the addresses are known; what is wrong with other packets is for the stack
 * to judge. Nothing is written to the frame, but for an answer to an echo request.
 */
#ifndef XDPLB_PARSE_H
#define XDPLB_PARSE_H

#include "capture.h"
#include "icmp.h"
#include "packet.h"
#include "vip.h"

#ifdef WITH_IPV6
#include "parse_ipv6.h"
#endif
#ifdef WITH_VLAN
#include "vlan.h"
#endif

#define MAC_GROUP 0x01 /* of a MAC's first byte: broadcast and multicast (IEEE 802, 8.2) */
#define IP_MORE_FRAGMENTS NET16(0x2000)
#define IP_FRAGMENT_OFFSET NET16(0x1fff)

/* Returns the type of what follows Ethernet and its tags, 0 where nothing does that could be IP. */
static __always_inline __be16 parse_ethernet(struct cursor *cursor)
{
	__be16 type;

	if (cursor->at + ETH_HLEN > cursor->end)
		return 0;
	type = load_u16(cursor->at + ETH_HLEN - sizeof(type));
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

/* Returns the bytes of Ethernet's header and tags; the cursor stands behind them. */
static __always_inline __u16 parse_ethernet_length(struct xdp_md *ctx, const struct cursor *cursor)
{
#ifdef WITH_VLAN
	return cursor->at - (void *)(long)ctx->data;
#else
	return ETH_HLEN;
#endif
}

/* The protocol decides only after the lengths: a packet that contradicts itself is none of any protocol. */
static __always_inline enum reason parse_ipv4(struct cursor *cursor, struct packet *packet)
{
	struct iphdr *ip = cursor->at;
	__u32 header;

	if ((void *)(ip + 1) > cursor->end || ip->version != 4)
		return PASS_MALFORMED;
	header = ip->ihl * 4;
	packet->ip_length = NET16(ip->tot_len);
	packet->source[0] = ip->saddr;
	packet->source[1] = 0;
	packet->destination[0] = ip->daddr;
	packet->destination[1] = 0;
	packet->tos = ip->tos;
	packet->ttl = ip->ttl;
	packet->protocol = ip->protocol;
	packet->fragment_protocol = ip->protocol;
	packet->fragment_id = ip->id;
	if (header < sizeof(*ip) || packet->ip_length < header ||
	    packet->ip_length > cursor->end - cursor->at)
		return DROP_BAD_LENGTH;
	if (ip->frag_off & IP_FRAGMENT_OFFSET)
		packet->fragment = FRAGMENT_LATER;
	else if (ip->frag_off & IP_MORE_FRAGMENTS)
		packet->fragment = FRAGMENT_FIRST;
	cursor->at += header;
	packet->transport = header;
	return GO_ON;
}

/* `length` is that of the IP payload: a header may be inside the frame and still outside the packet. */
static __always_inline enum reason parse_tcp(struct cursor *cursor, struct packet *packet, __u32 length)
{
	__u32 header;

	if (length < TCP_HEADER || cursor->at + TCP_HEADER > cursor->end)
		return DROP_BAD_LENGTH;
	header = (*(__u8 *)(cursor->at + 12) >> 4) * 4;
	if (header < TCP_HEADER || header > length)
		return DROP_BAD_LENGTH;
	packet->ports = load_u32(cursor->at);
	packet->tcp_flags = *(__u8 *)(cursor->at + 13);
	return GO_ON;
}

/* The datagram may be shorter than the IP payload, as IP lets it; a first fragment is always. */
static __always_inline enum reason parse_udp(struct cursor *cursor, struct packet *packet, __u32 length)
{
	__u32 datagram;

	if (length < UDP_HEADER || cursor->at + UDP_HEADER > cursor->end)
		return DROP_BAD_LENGTH;
	datagram = NET16(*(__be16 *)(cursor->at + 4));
	if (datagram < UDP_HEADER || (datagram > length && packet->fragment != FRAGMENT_FIRST))
		return DROP_BAD_LENGTH;
	packet->ports = load_u32(cursor->at);
	return GO_ON;
}

static __always_inline enum reason parse_transport(struct cursor *cursor, struct packet *packet)
{
	__u32 length = packet->ip_length - packet->transport;

	return packet->protocol == IPPROTO_TCP ? parse_tcp(cursor, packet, length)
	                                       : parse_udp(cursor, packet, length);
}

/* Whether this is a later fragment of IPv6 whose first one may have TCP or UDP behind more extension headers. */
static __always_inline int parse_may_have_transport(const struct packet *packet)
{
#ifdef WITH_IPV6
	if (packet->version == 6)
		return packet->fragment == FRAGMENT_LATER && extension_is_known(packet->protocol);
#endif
	return 0;
}

static __always_inline enum reason parse_ip(struct cursor *cursor, struct packet *packet)
{
#ifdef WITH_IPV6
	if (packet->version == 6)
		return parse_ipv6(cursor, packet);
#endif
	return parse_ipv4(cursor, packet);
}

/* The cursor stands at the IP header. Fills `packet`, whose version is set. */
static __always_inline enum reason parse_packet(struct xdp_md *ctx, struct cursor *cursor,
                                                struct packet *packet)
{
	__u8 icmp = packet->version == 6 ? IPPROTO_ICMPV6 : IPPROTO_ICMP;
	enum reason reason;

	packet->ports = 0;
	packet->tcp_flags = 0;
	packet->fragment = FRAGMENT_NONE;
	packet->icmp_error = 0;
	reason = parse_ip(cursor, packet);
	if (reason != PASS_MALFORMED)
		capture_in(ctx, packet);
	if (reason != GO_ON)
		return reason;
	if (packet->protocol == IPPROTO_TCP || packet->protocol == IPPROTO_UDP)
		return packet->fragment == FRAGMENT_LATER ? GO_ON : parse_transport(cursor, packet);
	if (packet->protocol == icmp && packet->fragment == FRAGMENT_NONE)
		return icmp_parse(ctx, cursor, packet);
	return parse_may_have_transport(packet) ? GO_ON : PASS_NOT_TCP_UDP;
}

#endif
