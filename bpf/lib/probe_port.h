/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* The port that a probe has on its way, so that its answers are known from those to all others. */
#ifndef XDPLB_PROBE_PORT_H
#define XDPLB_PROBE_PORT_H

#include "probe_packet.h"

#define PROBE_FIRST_PORT                                                                                     \
	0x8000 /* no answer to a probe comes to a lower port: most packets need not be looked up */
#define PROBE_PORTS 0x7fff
#define PROBE_TRIES 8

#define PROBE_SILENT_NS (310 * 1000000000ULL) /* longer than any check waits for an answer */
#define PROBE_ENDING_NS (5 * 1000000000ULL)

static __always_inline int probe_is_same(const struct probe_socket *one, const struct probe_socket *other)
{
	return one->source[0] == other->source[0] && one->source[1] == other->source[1] &&
	       one->backend == other->backend && one->source_port == other->source_port &&
	       one->destination_port == other->destination_port && one->protocol == other->protocol;
}

static __always_inline int probe_is_over(const struct probe_answer *answer, __u64 now)
{
	return now - answer->last_seen > (answer->is_ending ? PROBE_ENDING_NS : PROBE_SILENT_NS);
}

/* Finds a port for the probe `socket`, which becomes that of the packet `sent`, and notes whose its answers are. Returns -1
 * if none is free; the probe tries again, as a packet may always be lost.
 */
static __always_inline int probe_take_port(const struct probe_packet *before, struct probe_packet *sent,
                                           const struct probe_socket *socket)
{
	struct probe_answers answers = {
		.source = {sent->destination[0], sent->destination[1]},
		.destination = {sent->source[0], sent->source[1]},
		.source_port = sent->destination_port,
		.protocol = sent->protocol,
	};
	struct probe_answer answer = {
		.socket = *socket,
		.backend = {before->destination[0], before->destination[1]},
		.last_seen = bpf_ktime_get_ns(),
		.version = before->version,
		.is_ending = !!(before->tcp_flags & (TCP_FIN | TCP_RST)),
	};
	__u32 *known = probe_ports.lookup((struct probe_socket *)socket);
	__u32 port = known ? *known : (PROBE_FIRST_PORT | NET16(before->source_port));

	for (int i = 0; i < PROBE_TRIES; i++) {
		struct probe_answer *there;

		answers.destination_port = NET16((__u16)port);
		there = probe_answered.lookup(&answers);
		if (!there || probe_is_same(&there->socket, socket) ||
		    probe_is_over(there, answer.last_seen)) {
			sent->source_port = answers.destination_port;
			probe_answered.update(&answers, &answer);
			if (!known || *known != port)
				probe_ports.update((struct probe_socket *)socket, &port);
			return 0;
		}
		port = PROBE_FIRST_PORT | (bpf_get_prandom_u32() & PROBE_PORTS);
	}
	return -1;
}

#endif
