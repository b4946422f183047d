/* IPIP (RFC 2003): the packet goes to the backend inside another IPv4 packet. */
#ifndef XDPLB_FORWARD_IPIP_H
#define XDPLB_FORWARD_IPIP_H

#include "checksum.h"
#include "forward_dr.h"
#include "layout.h"
#include "parse.h"

#define IPIP_TTL 64
#define IP_DF 0x4000

/* DSCP and ECN are the inner packet's (RFC 6040, normal mode). The id is 0, since the packet is never fragmented
 * (RFC 6864): DF is set.
 */
static __always_inline void ipip_write_header(struct iphdr *ip, const struct packet *packet,
                                              const struct backend *backend, __u64 hash)
{
	__be32 varying = (__u32)hash & backend->source_mask;
	__u16 length = NET16(packet->ip_length + sizeof(*ip));
	__u32 sum = backend->checksum + checksum_words(varying) + ((__u32)packet->tos << 8) + length +
	            NET16(IP_DF);

	/* Version, IHL, TOS, length, id 0 and DF in one store */
	store_u64(ip, 0x45 | (__u32)packet->tos << 8 | (__u32)length << 16 | (__u64)NET16(IP_DF) << 48);
	ip->ttl = IPIP_TTL;
	ip->protocol = IPPROTO_IPIP;
	ip->check = checksum_fold(sum);
	ip->saddr = backend->source | varying;
	ip->daddr = backend->address;
}

static __always_inline enum reason forward_ipip(struct xdp_md *ctx, const struct packet *packet,
                                                const struct backend *backend, __u64 hash)
{
	struct ethhdr *ethernet;
	struct iphdr *ip;

	if (packet->ip_length + sizeof(*ip) > backend->mtu)
		return DROP_TOO_BIG;
	if (bpf_xdp_adjust_head(ctx, -(int)sizeof(*ip)))
		return DROP_NO_HEADROOM;
	ethernet = (void *)(long)ctx->data;
	ip = (void *)(ethernet + 1);
	if ((void *)(ip + 1) > (void *)(long)ctx->data_end)
		return DROP_INTERNAL;
	forward_write_macs(ethernet, backend);
	ethernet->h_proto = NET16(ETH_P_IP);
	ipip_write_header(ip, packet, backend, hash);
	return GO_ON;
}

#endif
