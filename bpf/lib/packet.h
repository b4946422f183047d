/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* What the balancer knows about a packet, and the constants of the protocols. */
#ifndef XDPLB_PACKET_H
#define XDPLB_PACKET_H

#include <uapi/linux/bpf.h>
#include <uapi/linux/if_ether.h>
#include <uapi/linux/in.h>
#include <uapi/linux/in6.h>
#include <uapi/linux/ip.h>

#include "bytes.h"
#include "reasons.h"

#define GO_ON REASONS /* no reason to stop */

#define NET16(constant) __builtin_bswap16(constant)
#define NET32(constant) __builtin_bswap32(constant)

#define TCP_FIN 0x01
#define TCP_SYN 0x02
#define TCP_RST 0x04
#define TCP_ACK 0x10

#define TCP_HEADER 20
#define UDP_HEADER 8
#define IPV4_HEADER 20
#define IPV6_HEADER 40

#define FRAGMENT_NONE 0
#define FRAGMENT_FIRST 1 /* has the transport header */
#define FRAGMENT_LATER 2 /* a non-first fragment: has no ports */
#define FRAGMENT_INSIDE                                                                                      \
	3 /* one that begins 8 bytes behind the transport header's beginning: inside a TCP header */

/* The parser's position in the frame; `end` is the end of the frame. */
struct cursor {
	void *at;
	void *end;
};

struct packet {
	__u64 source[2], destination[2]; /* in network order; an IPv4 address is in [0], and [1] is 0 */
	__u64 ports;        /* source and destination port in network order, 32 bits; 0 if there are none */
	__u64 plain_length; /* frame_length of a plain packet, in 64 bits */
	__u32 frame_length; /* including Ethernet */
	__u32 ip_length;    /* of the whole IP packet; the frame may be longer (padding) */
	__u32 fragment_id;  /* in network order */
	__u16 ethernet;     /* bytes of the Ethernet header and tags: offset of the IP header */
	__u16 transport;    /* offset of the transport header from the IP header */
#ifdef WITH_NAT
	__u16 quoted; /* of an ICMP error: offset of the quoted transport header from the IP header quoted */
#endif
	__u8 version;  /* 4 or 6: a constant, since the code is compiled once for each */
	__u8 is_plain; /* a constant too, see plain.h */
	__u8 protocol; /* of the transport; in a non-first IPv6 fragment it means nothing */
	__u8 tos;      /* TOS or traffic class */
	__u8 ttl;
	__u8 tcp_flags; /* 0 for UDP */
	__u8 fragment;  /* FRAGMENT_* */
	__u8 class;     /* enum packet_class, once it is classified */
};

/* Returns the offset of the IP header in the frame, within bounds that the verifier can see. */
static __always_inline __u32 packet_network(const struct packet *packet)
{
#ifdef WITH_VLAN
	return packet->ethernet & 0x1e; /* 14, 18 or 22 */
#else
	return ETH_HLEN;
#endif
}

/* Returns `value` unchanged, but the verifier no longer knows anything about it. Paths that differ only in what the
 * verifier knows about a value are each followed through the rest of the program; after this they look the same, and
 * one is followed. It works because frames are shorter than 64 KiB, which the verifier does not know: the XOR is with 0
 * (docs/verifier.md).
 */
static __always_inline __u64 packet_blur(const struct packet *packet, __u64 value)
{
	value ^= (packet->is_plain ? packet->plain_length : packet->frame_length) >> 16;
	asm volatile("" : "+r"(value)); /* do it here, not where the value is used */
	return value;
}

/* Returns the end of the frame. Where much of the program asks for it, the compiler computes the address of `data_end` once
 * and reads through that, which the verifier does not allow.
 */
static __always_inline void *packet_end(const struct xdp_md *ctx)
{
	asm volatile("" : "+r"(ctx));
	return (void *)(long)ctx->data_end;
}

static __always_inline int packet_is_later_fragment(const struct packet *packet)
{
	return packet->fragment >= FRAGMENT_LATER;
}

/* Returns `reason`, for which few packets stop: of a plain one it is set only there, not ahead of each comparison. For others
 * that would be more to verify.
 */
static __always_inline enum reason rarely(const struct packet *packet, enum reason reason)
{
	if (packet->is_plain)
		asm volatile("" : "+r"(reason));
	return reason;
}

static __always_inline int packet_is_syn(const struct packet *packet)
{
	return (packet->tcp_flags & (TCP_SYN | TCP_ACK)) == TCP_SYN;
}

#endif
