/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* The packets of probes: TCP and UDP, whole, without IP options or extension headers. */
#ifndef XDPLB_PROBE_PACKET_H
#define XDPLB_PROBE_PACKET_H

#include <uapi/linux/ipv6.h>
#include <uapi/linux/pkt_cls.h>

#include "checksum.h"
#include "forward_outer.h"
#include "probe_layout.h"

#define PROBE_IPV4_FRAGMENT NET16(0x3fff)
#define PROBE_TCP_FLAGS_AT 13
#define PROBE_TCP_SUM_AT 16
#define PROBE_UDP_SUM_AT 6

struct probe_packet {
	__u64 source[2], destination[2];
	__be16 source_port, destination_port;
	__u32 length; /* of the IP packet */
	__u8 version;
	__u8 protocol;
	__u8 tos;
	__u8 ttl;
	__u8 tcp_flags;
};

/* Returns the offset of the transport header in the frame. */
static __always_inline __u32 probe_transport(const struct probe_packet *packet)
{
	return ETH_HLEN + (packet->version == 6 ? IPV6_HEADER : IPV4_HEADER);
}

static __always_inline int probe_parse_ipv4(struct __sk_buff *skb, struct probe_packet *packet)
{
	struct iphdr ip;

	if (bpf_skb_load_bytes(skb, ETH_HLEN, &ip, sizeof(ip)) || ip.version != 4 || ip.ihl != 5 ||
	    ip.frag_off & PROBE_IPV4_FRAGMENT)
		return -1;
	packet->version = 4;
	packet->protocol = ip.protocol;
	packet->tos = ip.tos;
	packet->ttl = ip.ttl;
	packet->source[0] = ip.saddr;
	packet->destination[0] = ip.daddr;
	packet->source[1] = packet->destination[1] = 0;
	return 0;
}

static __always_inline int probe_parse_ipv6(struct __sk_buff *skb, struct probe_packet *packet)
{
	struct ipv6hdr ip;

	if (bpf_skb_load_bytes(skb, ETH_HLEN, &ip, sizeof(ip)) || ip.version != 6)
		return -1;
	packet->version = 6;
	packet->protocol = ip.nexthdr;
	packet->tos = ip.priority << 4 | ip.flow_lbl[0] >> 4;
	packet->ttl = ip.hop_limit;
	__builtin_memcpy(packet->source, &ip.saddr, sizeof(packet->source));
	__builtin_memcpy(packet->destination, &ip.daddr, sizeof(packet->destination));
	return 0;
}

/* Returns 0, or -1 if it is no packet of a probe. The frame has no tags in it. */
static __always_inline int probe_parse(struct __sk_buff *skb, struct probe_packet *packet)
{
	__be16 ports[2];
	int failed = -1;

	if (skb->protocol == NET16(ETH_P_IP))
		failed = probe_parse_ipv4(skb, packet);
	else if (skb->protocol == NET16(ETH_P_IPV6))
		failed = probe_parse_ipv6(skb, packet);
	if (failed || (packet->protocol != IPPROTO_TCP && packet->protocol != IPPROTO_UDP) ||
	    bpf_skb_load_bytes(skb, probe_transport(packet), ports, sizeof(ports)))
		return -1;
	packet->source_port = ports[0];
	packet->destination_port = ports[1];
	packet->length = skb->len - ETH_HLEN;
	packet->tcp_flags = 0;
	return packet->protocol == IPPROTO_TCP
	               ? bpf_skb_load_bytes(skb, probe_transport(packet) + PROBE_TCP_FLAGS_AT,
	                                    &packet->tcp_flags, sizeof(packet->tcp_flags))
	               : 0;
}

/* Brings the transport's checksum to the addresses and ports of `after`, and writes these ports. The helpers know of
 * checksums that the NIC is to finish or has summed up.
 */
static __always_inline int probe_write_transport(struct __sk_buff *skb, const struct probe_packet *before,
                                                 const struct probe_packet *after)
{
	__u32 at = probe_transport(before);
	__u32 sum_at = at + (before->protocol == IPPROTO_TCP ? PROBE_TCP_SUM_AT : PROBE_UDP_SUM_AT);
	__u64 none = before->protocol == IPPROTO_UDP ? BPF_F_MARK_MANGLED_0 : 0;
	__be16 ports[2] = {after->source_port, after->destination_port};
	__u64 old[4], new[4];
	__s64 changed;

	__builtin_memcpy(old, before->source, sizeof(old));
	__builtin_memcpy(new, after->source, sizeof(new));
	changed = bpf_csum_diff((void *)old, sizeof(old), (void *)new, sizeof(new), 0);
	if (changed < 0 || bpf_l4_csum_replace(skb, sum_at, 0, changed, BPF_F_PSEUDO_HDR | none) ||
	    bpf_l4_csum_replace(skb, sum_at, before->source_port, after->source_port,
	                        sizeof(__be16) | none) ||
	    bpf_l4_csum_replace(skb, sum_at, before->destination_port, after->destination_port,
	                        sizeof(__be16) | none))
		return -1;
	return bpf_skb_store_bytes(skb, at, ports, sizeof(ports), 0);
}

static __always_inline int probe_write_ipv4(struct __sk_buff *skb, const struct probe_packet *packet)
{
	struct iphdr ip = {
		.version = 4,
		.ihl = IPV4_HEADER / 4,
		.tos = packet->tos,
		.tot_len = NET16((__u16)packet->length),
		.frag_off = NET16(IP_DF),
		.ttl = packet->ttl,
		.protocol = packet->protocol,
		.saddr = packet->source[0],
		.daddr = packet->destination[0],
	};

	ip.check = checksum_fold(bpf_csum_diff(NULL, 0, (void *)&ip, sizeof(ip), 0));
	return bpf_skb_store_bytes(skb, ETH_HLEN, &ip, sizeof(ip), BPF_F_RECOMPUTE_CSUM);
}

static __always_inline int probe_write_ipv6(struct __sk_buff *skb, const struct probe_packet *packet)
{
	struct ipv6hdr ip = {
		.version = 6,
		.priority = packet->tos >> 4,
		.flow_lbl = {packet->tos << 4},
		.payload_len = NET16((__u16)(packet->length - IPV6_HEADER)),
		.nexthdr = packet->protocol,
		.hop_limit = packet->ttl,
	};

	__builtin_memcpy(&ip.saddr, packet->source, sizeof(packet->source));
	__builtin_memcpy(&ip.daddr, packet->destination, sizeof(packet->destination));
	return bpf_skb_store_bytes(skb, ETH_HLEN, &ip, sizeof(ip), BPF_F_RECOMPUTE_CSUM);
}

/* Makes the packet `before` into `after`, which may be of the other family. */
static __always_inline int probe_rewrite(struct __sk_buff *skb, const struct probe_packet *before,
                                         struct probe_packet *after)
{
	__be16 type = after->version == 6 ? NET16(ETH_P_IPV6) : NET16(ETH_P_IP);

	if (probe_write_transport(skb, before, after))
		return -1;
	if (before->version != after->version) {
		if (bpf_skb_change_proto(skb, type, 0))
			return -1;
		after->length += after->version == 6 ? IPV6_HEADER - IPV4_HEADER : IPV4_HEADER - IPV6_HEADER;
		if (bpf_skb_store_bytes(skb, 2 * ETH_ALEN, &type, sizeof(type), 0))
			return -1;
	}
	return after->version == 6 ? probe_write_ipv6(skb, after) : probe_write_ipv4(skb, after);
}

#endif
