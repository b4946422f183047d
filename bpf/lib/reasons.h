/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Why a packet was passed to the host's stack, dropped or answered: one counter each.
 *
 * The one list that xdplb/dataplane/reasons.py reads at import; what is added here appears in status, metrics and
 * REST by itself, and docs/reference/reasons.md must explain it (a test says so). PASS_* is left to the host, DROP_* is
 * dropped, ANSWER_* went back to its sender.
 */
#ifndef XDPLB_REASONS_H
#define XDPLB_REASONS_H

/* A reason keeps its number permanently: one that is retired leaves a hole. Its range says what becomes of the packet, see
 * verdict.h.
 */
#define REASON_PASS 1
#define REASON_DROP 32
#define REASON_ANSWER 96

/* clang-format off */
enum reason {
	PASS_NOT_IP = 1, /* not IP, such as ARP; IPv6 and VLAN where nothing needs them */
	PASS_NOT_UNICAST = 2, /* IP in a frame to a broadcast or multicast MAC: each receiver would forward it */
	PASS_NOT_TCP_UDP = 3, /* other protocols, and ICMP that is not about one of our connections */
	PASS_NO_VIP = 4, /* no VIP has this address, port and protocol */
	PASS_MALFORMED = 5, /* truncated, lengths that contradict each other, or a source route, and not for a VIP: the stack decides */
	PASS_FRAGMENT = 6, /* a non-first fragment for an address without VIPs, or whose first one was passed */
	PASS_TUNNEL_ERROR = 7, /* an ICMP error about a packet in a tunnel, to the host that sent it: the daemon reads it */
	PASS_NAT_REPLY = 8, /* a NAT backend's reply, rewritten: the next hop to its client is for the host to find */
	PASS_TUNNEL = 9, /* in a tunnel that ends here, and not unwrapped: a fragment, or malformed: the stack decides */
	DROP_FRAGMENT = 32, /* a non-first fragment for an address with VIPs that arrived before its first one */
	DROP_NO_BACKEND = 33, /* the slot has no owner: no backend is usable */
	DROP_BACKEND_DOWN = 34, /* the chosen backend cannot be sent to: its next hop is unknown or it failed */
	DROP_TOO_BIG = 35, /* does not fit the MTU, and the sender is not told: the rate limit of answers, or not a packet to answer */
	DROP_NO_HEADROOM = 36, /* the driver left no headroom for the outer header */
	DROP_DENIED = 37, /* the VIP's access list denies the source */
	DROP_SOURCE_RATE = 38, /* the source is over the VIP's limit per source */
	DROP_VIP_RATE = 39, /* the VIP is over its own limit */
	DROP_BAD_LENGTH = 40, /* for a VIP, and its lengths contradict each other or the frame's */
	DROP_BAD_CHECKSUM = 41, /* for a VIP, and the IPv4 header's checksum is wrong; or in a tunnel that ends here, and that of the outer header or of GUE's datagram is */
	DROP_TTL = 42, /* for a VIP, and its TTL or hop limit is 0 or 1: it may not be forwarded */
	DROP_LAND = 43, /* for a VIP, and its source is the VIP itself */
	DROP_TCP_FLAGS = 44, /* for a VIP, with flags that TCP never sends together: SYN with FIN or RST, or none at all */
	DROP_EXTENSION = 45, /* for an address with VIPs, with more IPv6 extension headers than are parsed, or hop-by-hop options that are not the first of them */
	DROP_INTERNAL = 46, /* a map lookup that cannot fail failed */
	DROP_MARTIAN = 47, /* for a VIP, from an address that no host on the network has, or from a link-local one to another link; or from or in a tunnel that ends here, and no router would forward it */
	DROP_SOURCE_ROUTE = 48, /* for an address with VIPs, and its sender says which way it goes: an IPv4 source route, or an IPv6 routing header with segments left */
	DROP_SOURCE_MAC = 49, /* an echo request to a VIP's address, from a MAC that cannot be answered: a group, zeros, or the balancer's own */
	DROP_TCP_FRAGMENT = 50, /* for an address with VIPs, a fragment that would write into the TCP header in the first one */
	DROP_BACKEND_RATE = 51, /* a new connection for a backend that gets as many as it may, and no other one can take it */
	DROP_TUNNEL_SOURCE = 52, /* in a tunnel that ends here, from a source that `--decap-from` does not allow */
	DROP_ECN = 53, /* in a tunnel that ends here, with congestion marked on a packet whose sender does not know ECN (RFC 6040, 4.2) */
	ANSWER_ECHO = 96, /* an echo request to a VIP's address */
	ANSWER_TOO_BIG = 97, /* did not fit the MTU; the sender was told by ICMP */
	ANSWER_REJECTED = 98, /* no backend is usable, and the VIP has its clients told so: by a RST, or by ICMP */
	REASONS = 128        /* above every number: the packet is sent on */
};
/* clang-format on */

#endif
