/* From a frame to what the balancer needs of it.
 *
 * Each parse_* function starts where the cursor stands, checks that its header is there, moves the cursor behind it
 * and returns GO_ON, or the reason why this packet is not balanced. Nothing is written to the frame.
 */
#ifndef XDPLB_PARSE_H
#define XDPLB_PARSE_H

#include <uapi/linux/bpf.h>
#include <uapi/linux/if_ether.h>
#include <uapi/linux/in.h>
#include <uapi/linux/ip.h>

#include "memory.h"
#include "reasons.h"

#define GO_ON REASONS /* no reason to stop */

#define NET16(constant) __builtin_bswap16(constant)

#define IP_FRAGMENT NET16(0x3fff) /* more fragments follow, or this is not the first one */
#define TCP_HEADER 20
#define TCP_FLAGS_AT 13
#define UDP_HEADER 8

#define TCP_FIN 0x01
#define TCP_SYN 0x02
#define TCP_RST 0x04
#define TCP_ACK 0x10

struct cursor {
	void *at;
	void *end;
};

/* Addresses and ports stay in network byte order. */
struct packet {
	__be32 source;
	__be32 destination;
	__u32 ports;        /* source and destination port as they lie in memory; 0 in a fragment */
	__u32 ip_length;    /* of the IP packet; the frame may be longer (padding) */
	__u32 frame_length; /* with Ethernet */
	__u8 protocol;
	__u8 tos;
	__u8 tcp_flags; /* 0 for UDP */
	__u8 fragment;
};

static __always_inline int packet_is_syn(const struct packet *packet)
{
	return (packet->tcp_flags & (TCP_SYN | TCP_ACK)) == TCP_SYN;
}

static __always_inline enum reason parse_ethernet(struct cursor *cursor)
{
	struct ethhdr *ethernet = cursor->at;

	if ((void *)(ethernet + 1) > cursor->end || ethernet->h_proto != NET16(ETH_P_IP))
		return PASS_NOT_IPV4;
	cursor->at = ethernet + 1;
	return GO_ON;
}

static __always_inline enum reason parse_ipv4(struct cursor *cursor, struct packet *packet)
{
	struct iphdr *ip = cursor->at;
	__u32 header;

	if ((void *)(ip + 1) > cursor->end)
		return PASS_MALFORMED;
	header = ip->ihl * 4;
	packet->ip_length = NET16(ip->tot_len);
	if (ip->version != 4 || header < sizeof(*ip) || packet->ip_length < header ||
	    packet->ip_length > cursor->end - cursor->at)
		return PASS_MALFORMED;
	packet->source = ip->saddr;
	packet->destination = ip->daddr;
	packet->protocol = ip->protocol;
	packet->tos = ip->tos;
	packet->fragment = (ip->frag_off & IP_FRAGMENT) != 0;
	cursor->at += header;
	return GO_ON;
}

/* `length` is that of the IP payload: a header may be inside the frame and still outside the packet. */
static __always_inline enum reason parse_ports(struct cursor *cursor, struct packet *packet, __u32 length)
{
	__u32 header = packet->protocol == IPPROTO_TCP ? TCP_HEADER : UDP_HEADER;

	if (length < header || cursor->at + UDP_HEADER > cursor->end)
		return PASS_MALFORMED;
	packet->ports = load_u32(cursor->at);
	packet->tcp_flags = 0;
	if (packet->protocol == IPPROTO_UDP)
		return GO_ON;
	if (cursor->at + TCP_HEADER > cursor->end)
		return PASS_MALFORMED;
	packet->tcp_flags = *(__u8 *)(cursor->at + TCP_FLAGS_AT);
	return GO_ON;
}

static __always_inline enum reason parse_packet(struct xdp_md *ctx, struct packet *packet)
{
	void *start = (void *)(long)ctx->data;
	struct cursor cursor = {start, (void *)(long)ctx->data_end};
	void *ip;
	enum reason reason;

	packet->frame_length = cursor.end - start;
	reason = parse_ethernet(&cursor);
	if (reason != GO_ON)
		return reason;
	ip = cursor.at;
	reason = parse_ipv4(&cursor, packet);
	if (reason != GO_ON)
		return reason;
	if (packet->protocol != IPPROTO_TCP && packet->protocol != IPPROTO_UDP)
		return PASS_NOT_TCP_UDP;
	if (packet->fragment) {
		packet->ports = 0;
		return GO_ON;
	}
	return parse_ports(&cursor, packet, packet->ip_length - (cursor.at - ip));
}

#endif
