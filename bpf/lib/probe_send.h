/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Sending a probe as the traffic is sent: to the VIP's address, by the backend's MAC address or in its tunnel. */
#ifndef XDPLB_PROBE_SEND_H
#define XDPLB_PROBE_SEND_H

#include "forward_gue.h"
#include "probe_port.h"

/* What a host that has the VIP needs no more of, with one hop to spare for one that passes it on to a container. The
 * balancer drops what comes back to it with less than 2: a backend without the VIP that routes must not have another
 * backend answer.
 */
#define PROBE_TTL 2

/* The tags that the kernel has sent a frame with, the outer one first; the types are 0 where there are none. */
struct probe_tags {
	__u16 ids[2];
	__be16 types[2];
};

/* Takes the tags off the frame. */
static __always_inline int probe_untag(struct __sk_buff *skb, struct probe_tags *tags)
{
#pragma unroll
	for (int i = 0; i < 2; i++) {
		if (!skb->vlan_present)
			break;
		tags->ids[i] = skb->vlan_tci;
		tags->types[i] = skb->vlan_proto;
		if (bpf_skb_vlan_pop(skb))
			return -1;
	}
	return 0;
}

/* Gives the frame the tags that packets to this backend have; where those keep the tags they came in with, the kernel's. */
static __always_inline int probe_tag(struct __sk_buff *skb, const struct backend *backend,
                                     struct probe_tags *tags)
{
	if (!(backend->flags & BACKEND_VLAN_KEEP)) {
		tags->types[0] = tags->types[1] = 0;
		if (backend->flags & BACKEND_VLAN) {
			tags->ids[0] = NET16(backend->vlan[0]);
			tags->types[0] =
				backend->flags & BACKEND_VLAN_AD ? NET16(ETH_P_8021AD) : NET16(ETH_P_8021Q);
		}
		if (backend->flags & BACKEND_QINQ) {
			tags->ids[1] = NET16(backend->vlan[1]);
			tags->types[1] = NET16(ETH_P_8021Q);
		}
	}
	if (tags->types[1] && bpf_skb_vlan_push(skb, tags->types[1], tags->ids[1]))
		return -1;
	return tags->types[0] ? bpf_skb_vlan_push(skb, tags->types[0], tags->ids[0]) : 0;
}

static __always_inline int probe_write_ethernet(struct __sk_buff *skb, const struct backend *backend,
                                                __be16 type)
{
	__u64 macs[2] = {read_u64(backend->destination_mac), read_u64(backend->source_mac)};

	return bpf_skb_store_bytes(skb, 0, &macs[0], ETH_ALEN, 0) ||
	       bpf_skb_store_bytes(skb, ETH_ALEN, &macs[1], ETH_ALEN, 0) ||
	       bpf_skb_store_bytes(skb, 2 * ETH_ALEN, &type, sizeof(type), 0);
}

/* Writes the outer IP header of `length` bytes and, of GUE, the UDP header behind it. */
static __always_inline int probe_write_outer(struct __sk_buff *skb, const __u64 *outer, __u32 length,
                                             int is_gue, const struct packet *shown, __u64 hash)
{
	__u64 udp;

	if (bpf_skb_store_bytes(skb, ETH_HLEN, outer, length, 0))
		return -1;
	gue_write_udp(&udp, shown, hash);
	return is_gue ? bpf_skb_store_bytes(skb, ETH_HLEN + length, &udp, sizeof(udp), 0) : 0;
}

/* Puts the outer headers in front of the packet; `shown` is the packet as forward_outer.h knows it. */
static __always_inline int probe_wrap_ipv4(struct __sk_buff *skb, const struct packet *shown,
                                           const struct backend *backend, __u64 hash)
{
	__u64 outer[IPV4_HEADER / sizeof(__u64) + 1]; /* of words, as the verifier wants it */
	int is_gue = backend->forward == FORWARD_GUE;
	__u32 udp = is_gue ? UDP_HEADER : 0;
	__u64 flags = BPF_F_ADJ_ROOM_ENCAP_L3_IPV4 | (is_gue ? BPF_F_ADJ_ROOM_ENCAP_L4_UDP : 0);

	if (bpf_skb_adjust_room(skb, IPV4_HEADER + udp, BPF_ADJ_ROOM_MAC, flags))
		return -1;
	outer_write_ipv4((void *)outer, shown, backend, hash, shown->ip_length + udp,
	                 is_gue ? IPPROTO_UDP : outer_protocol(shown));
	return probe_write_outer(skb, outer, IPV4_HEADER, is_gue, shown, hash);
}

static __always_inline int probe_wrap_ipv6(struct __sk_buff *skb, const struct packet *shown,
                                           const struct backend *backend, __u64 hash)
{
	__u64 outer[IPV6_HEADER / sizeof(__u64)];
	int is_gue = backend->forward == FORWARD_GUE6;
	__u32 udp = is_gue ? UDP_HEADER : 0;
	__u64 flags = BPF_F_ADJ_ROOM_ENCAP_L3_IPV6 | (is_gue ? BPF_F_ADJ_ROOM_ENCAP_L4_UDP : 0);

	if (bpf_skb_adjust_room(skb, IPV6_HEADER + udp, BPF_ADJ_ROOM_MAC, flags))
		return -1;
	outer_write_ipv6(outer, shown, backend, hash, shown->ip_length + udp,
	                 is_gue ? IPPROTO_UDP : outer_protocol(shown));
	return probe_write_outer(skb, outer, IPV6_HEADER, is_gue, shown, hash);
}

/* Returns the type of the Ethernet header, 0 after an error. */
static __always_inline __be16 probe_wrap(struct __sk_buff *skb, const struct probe_packet *packet,
                                         const struct backend *backend)
{
	struct packet shown = {.version = packet->version, .tos = packet->tos, .ip_length = packet->length};
	__u64 hash = (__u64)packet->source_port * 0x9e3779b97f4a7c15ULL >>
	             16; /* a path of its own for each probe */

	switch (backend->forward) {
	case FORWARD_DR:
		return packet->version == 6 ? NET16(ETH_P_IPV6) : NET16(ETH_P_IP);
	case FORWARD_IPIP:
	case FORWARD_GUE:
		return probe_wrap_ipv4(skb, &shown, backend, hash) ? 0 : NET16(ETH_P_IP);
	case FORWARD_IPIP6:
	case FORWARD_GUE6:
		return probe_wrap_ipv6(skb, &shown, backend, hash) ? 0 : NET16(ETH_P_IPV6);
	default:
		return 0;
	}
}

/* Sends the probe its way; returns the verdict of tc. */
static __always_inline int probe_send(struct __sk_buff *skb, const struct probe_way *way,
                                      const struct backend *backend, __u32 id)
{
	struct probe_tags tags = {};
	struct probe_packet before, sent;
	struct probe_socket socket = {.backend = id};
	__be16 type;

	if (probe_untag(skb, &tags) || probe_parse(skb, &before))
		return TC_ACT_SHOT;
	sent = before;
	sent.ttl = PROBE_TTL;
	sent.version = way->version == 6 ? 6 : 4;
	__builtin_memcpy(sent.destination, way->vip, sizeof(sent.destination));
	if (sent.version != before.version)
		__builtin_memcpy(sent.source, way->source, sizeof(sent.source));
	__builtin_memcpy(socket.source, before.source, sizeof(socket.source));
	socket.source_port = before.source_port;
	socket.destination_port = before.destination_port;
	socket.protocol = before.protocol;
	if (probe_take_port(&before, &sent, &socket) || probe_rewrite(skb, &before, &sent))
		return TC_ACT_SHOT;
	type = probe_wrap(skb, &sent, backend);
	if (!type || probe_write_ethernet(skb, backend, type) || probe_tag(skb, backend, &tags))
		return TC_ACT_SHOT;
	skb->mark = 0; /* it is a packet like any other now, also where it leaves by another NIC */
	return backend->ifindex == skb->ifindex ? TC_ACT_UNSPEC : bpf_redirect(backend->ifindex, 0);
}

#endif
