/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Taking in the answers to probes: what came from the VIP's address is given to the socket as from the backend's. */
#ifndef XDPLB_PROBE_ANSWER_H
#define XDPLB_PROBE_ANSWER_H

#include "probe_port.h"

/* Whether a packet that comes in has what all answers have. All packets for the host are asked: this costs nearly nothing. */
static __always_inline int probe_may_be_answer(struct __sk_buff *skb)
{
	void *end = (void *)(long)skb->data_end, *ip = (void *)(long)skb->data + ETH_HLEN;
	__be16 *port = ip + IPV4_HEADER + sizeof(*port);
	__u8 *protocol = ip + offsetof(struct iphdr, protocol);

	if (skb->protocol == NET16(ETH_P_IPV6)) {
		port = ip + IPV6_HEADER + sizeof(*port);
		protocol = ip + offsetof(struct ipv6hdr, nexthdr);
	} else if (skb->protocol != NET16(ETH_P_IP)) {
		return 0;
	}
	if ((void *)(port + 1) > end || (void *)(protocol + 1) > end)
		return 1; /* where the headers lie elsewhere, they are looked for */
	return (*protocol == IPPROTO_TCP || *protocol == IPPROTO_UDP) && *port & NET16(PROBE_FIRST_PORT);
}

static __always_inline struct probe_answer *probe_find(const struct probe_packet *packet)
{
	struct probe_answers key = {
		.source = {packet->source[0], packet->source[1]},
		.destination = {packet->destination[0], packet->destination[1]},
		.source_port = packet->source_port,
		.destination_port = packet->destination_port,
		.protocol = packet->protocol,
	};
	struct probe_answer *answer = probe_answered.lookup(&key);
	__u64 now;

	if (!answer)
		return NULL;
	now = bpf_ktime_get_ns();
	if (probe_is_over(answer, now))
		return NULL;
	answer->last_seen = now;
	return answer;
}

/* Returns the verdict of tc. */
static __always_inline int probe_take(struct __sk_buff *skb, const struct probe_packet *packet,
                                      const struct probe_answer *answer)
{
	struct probe_packet taken = *packet;

	taken.version = answer->version == 6 ? 6 : 4;
	__builtin_memcpy(taken.source, answer->backend, sizeof(taken.source));
	__builtin_memcpy(taken.destination, answer->socket.source, sizeof(taken.destination));
	taken.destination_port = answer->socket.source_port;
	return probe_rewrite(skb, packet, &taken) ? TC_ACT_SHOT : TC_ACT_UNSPEC;
}

#endif
