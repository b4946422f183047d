/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Packets for a VIP that has no backend, and wants its clients to be told so at once, as a closed port would: TCP by a RST
 * (RFC 9293, 3.10.7.1), UDP by "port unreachable" (RFC 792; RFC 4443, 3.1). They have been let in like any other.
 */
#ifndef XDPLB_REJECT_H
#define XDPLB_REJECT_H

#include "answer.h"
#include "bytes.h"
#include "checksum.h"
#include "classify.h"
#include "icmp.h"
#include "maps.h"
#include "packet.h"

#ifdef WITH_REJECT

#define REJECT4_TYPE (3 | 3 << 8) /* unreachable, port */
#define REJECT6_TYPE (1 | 4 << 8)
#define REJECT_LARGEST_PART 1024 /* the largest power of two that a quote is not shorter than */
#define REJECT_OFFSETS 0x7ff     /* where in the frame a quote may be */
#define TCP_OFFSET 0x50          /* a header without options */

/* Whether a segment can be answered. Where it ends, only a whole packet tells; and as a ping, it is answered in its plain
 * form. A RST is never answered.
 */
static __always_inline int reject_has_reset(const struct packet *packet)
{
	__u32 header = packet->version == 6 ? IPV6_HEADER : IPV4_HEADER;

	return packet->transport == header && packet->fragment == FRAGMENT_NONE &&
	       !(packet->tcp_flags & TCP_RST);
}

/* Writes the header of a RST over that of the segment at `tcp`; `length` is that of its IP payload. */
static __always_inline void reject_write_reset(void *tcp, const struct packet *packet, __u32 length)
{
	__u32 ports = packet->ports << 16 | packet->ports >> 16, sequence = 0, acknowledged = 0;
	__u32 flags = TCP_OFFSET | TCP_RST << 8, sum;

	if (packet->tcp_flags & TCP_ACK) {
		sequence = read_u32(tcp + 8);
	} else {
		length -= (*(__u8 *)(tcp + 12) >> 4) * 4;
		length += (packet->tcp_flags & TCP_FIN) + (packet->tcp_flags / TCP_SYN & 1);
		acknowledged = NET32(NET32(read_u32(tcp + 4)) + length);
		flags |= TCP_ACK << 8;
	}
	sum = answer_pseudo(packet, IPPROTO_TCP, TCP_HEADER) + checksum_words(ports) +
	      checksum_words(sequence) + checksum_words(acknowledged) + flags;
	write_u32(tcp, ports);
	write_u32(tcp + 4, sequence);
	write_u32(tcp + 8, acknowledged);
	write_u32(tcp + 12, flags);
	write_u32(tcp + 16, checksum_fold(sum));
}

/* Makes the segment a RST; returns whether it could. */
static __always_inline int reject_by_reset(struct xdp_md *ctx, const struct packet *packet)
{
	__u32 header = packet->version == 6 ? IPV6_HEADER : IPV4_HEADER;
	void *frame = (void *)(long)ctx->data, *end = packet_end(ctx);
	void *ip = frame + packet_network(packet);
	int length = end - frame;

	if (frame + ETH_HLEN > end || ip + header + TCP_HEADER > end)
		return 0;
	answer_write_macs(frame, answer_macs_of(frame));
	reject_write_reset(ip + header, packet, packet->ip_length - header);
	answer_write_ip(ip, packet, IPPROTO_TCP, TCP_HEADER);
	return !bpf_xdp_adjust_tail(ctx, (int)(packet_network(packet) + header + TCP_HEADER) - length);
}

/* Returns `sum` plus the words of the `length` bytes (a multiple of 4) at this offset in the frame. In parts of constant
 * length, as the verifier asks: of each power of two, one or none.
 */
static __always_inline __u32 reject_sum(struct xdp_md *ctx, const struct packet *packet, __u32 at,
                                        __u32 length, __u32 sum)
{
#pragma unroll
	for (__u32 part = REJECT_LARGEST_PART; part >= sizeof(__u32); part /= 2) {
		__u32 step = part < CSUM_DIFF_BYTES ? part : CSUM_DIFF_BYTES;
		void *from = (void *)(long)ctx->data + (packet_blur(packet, at) & REJECT_OFFSETS);

		if (!(length & part))
			continue;
		if (from + part > packet_end(ctx))
			return sum;
		sum = bpf_csum_diff(NULL, 0, from, step, sum);
		if (step < part)
			sum = bpf_csum_diff(NULL, 0, from + step, step, sum);
		at += part;
	}
	return sum;
}

/* Makes the datagram an answer that its port is unreachable; returns whether it could. */
static __always_inline int reject_by_icmp(struct xdp_md *ctx, const struct packet *packet)
{
	__u32 most = packet->version == 6 ? ANSWER6_QUOTE : ANSWER4_QUOTE;
	__u32 quote = (packet->ip_length < most ? packet->ip_length : most) / 4 * 4;
	__u32 header = packet->version == 6 ? IPV6_HEADER : IPV4_HEADER;
	__u32 sum = packet->version == 6
	                    ? REJECT6_TYPE + answer_pseudo(packet, IPPROTO_ICMPV6, ICMP_HEADER + quote)
	                    : REJECT4_TYPE;
	void *ip;

	if (answer_move(ctx, packet_network(packet), header + ICMP_HEADER, quote))
		return 0;
	sum = reject_sum(ctx, packet, packet_network(packet) + header + ICMP_HEADER, quote, sum);
	ip = (void *)(long)ctx->data + packet_network(packet);
	if (ip + header + ICMP_HEADER > packet_end(ctx))
		return 0;
	answer_write_ip(ip, packet, packet->version == 6 ? IPPROTO_ICMPV6 : IPPROTO_ICMP,
	                ICMP_HEADER + quote);
	write_u64(ip + header,
	          (packet->version == 6 ? REJECT6_TYPE : REJECT4_TYPE) | (__u32)checksum_fold(sum) << 16);
	return 1;
}

/* Whether the VIP wants its clients to be told, and this is a packet to answer (RFC 1122, 3.2.2). check_packet has dropped
 * what comes from an address that is not one host.
 */
static __always_inline int reject_is_told(struct xdp_md *ctx, const struct packet *packet, __u32 vip_id)
{
	const struct vip_guard *guard = vip_guards.lookup(&vip_id);
	const void *frame = (void *)(long)ctx->data;

	if (!guard || !guard->rejects || packet->class != CLASS_REQUEST)
		return 0;
	if (packet->protocol == IPPROTO_TCP && !reject_has_reset(packet))
		return 0;
	return frame + ETH_HLEN <= packet_end(ctx) && answer_has_sender(answer_macs_of(frame));
}

#endif

/* Returns `reason`, for which a packet stops; of one that no backend can get, ANSWER_REJECTED if it was made an answer that
 * says so.
 */
static __always_inline enum reason reject(struct xdp_md *ctx, const struct packet *packet, __u32 vip_id,
                                          enum reason reason)
{
#ifdef WITH_REJECT
	int is_made;

	if (reason != DROP_NO_BACKEND || !reject_is_told(ctx, packet, vip_id) || !answer_is_affordable())
		return reason;
	is_made =
		packet->protocol == IPPROTO_TCP ? reject_by_reset(ctx, packet) : reject_by_icmp(ctx, packet);
	return is_made ? ANSWER_REJECTED : DROP_NO_BACKEND;
#endif
	return reason;
}

#endif
