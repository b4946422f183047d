/* What the balancer knows of a packet, and the words that all of it is told in. */
#ifndef XDPLB_PACKET_H
#define XDPLB_PACKET_H

#include <uapi/linux/bpf.h>
#include <uapi/linux/if_ether.h>
#include <uapi/linux/in.h>
#include <uapi/linux/in6.h>
#include <uapi/linux/ip.h>

#include "memory.h"
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
#define FRAGMENT_FIRST 1 /* has the transport's header */
#define FRAGMENT_LATER 2 /* has no ports */

/* Where parsing stands; `end` is the frame's. */
struct cursor {
	void *at;
	void *end;
};

struct packet {
	__u64 source[2], destination[2]; /* as they lie in the header; IPv4: in [0], and [1] is 0 */
	__u32 ports;        /* source and destination port as they lie in memory; 0 where there are none */
	__u32 ip_length;    /* of the whole IP packet; the frame may be longer (padding) */
	__u32 frame_length; /* with Ethernet */
	__u32 fragment_id;  /* as it lies in the header */
	__u16 ethernet;     /* bytes of Ethernet's header and tags: where the IP header begins */
	__u16 transport;    /* bytes from the IP header to the transport's header */
	__u8 version;       /* 4 or 6: a constant where the compiler specialises */
	__u8 protocol;      /* of the transport; of a later IPv6 fragment: fragment_protocol */
	__u8 fragment_protocol; /* IPv6: the next header of the fragment header; IPv4: the same as protocol */
	__u8 tos;               /* TOS or traffic class */
	__u8 ttl;
	__u8 tcp_flags;  /* 0 for UDP */
	__u8 fragment;   /* FRAGMENT_* */
	__u8 icmp_error; /* addresses, ports and protocol are those of the quoted packet, turned round */
};

/* Returns where in the frame the IP header begins, in bounds that the verifier sees. */
static __always_inline __u32 packet_network(const struct packet *packet)
{
#ifdef WITH_VLAN
	return packet->ethernet & 0x1e; /* 14, 18 or 22 */
#else
	return ETH_HLEN;
#endif
}

/* Returns `value`, of which the verifier then knows nothing. It follows each path on which it knows something else through
 * the rest of the program; after this it follows one of them. Frames are shorter than 64 KiB, which it does not know either.
 */
static __always_inline __u64 packet_blur(const struct packet *packet, __u64 value)
{
	value ^= packet->frame_length >> 16;
	asm volatile("" : "+r"(value)); /* here and now, not where it is used */
	return value;
}

static __always_inline int packet_is_syn(const struct packet *packet)
{
	return (packet->tcp_flags & (TCP_SYN | TCP_ACK)) == TCP_SYN;
}

#endif
