/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* What the maps of probes.c hold, and the mark of a probe. Mirrored in xdplb/dataplane/probing.py. All are in a folder
 * of their own, and are made anew with the program: nothing in them outlives the probes under way.
 */
#ifndef XDPLB_PROBE_LAYOUT_H
#define XDPLB_PROBE_LAYOUT_H

#include "layout.h"
#include "packet.h"

#define PROBE_MARK 0x78640000 /* SO_MARK of a probe's socket, with the backend's id in the low half */
#define PROBE_BACKEND 0xffff

#define PROBE_FLOWS 65536

/* By backend id: where its probes go. Addresses as in struct packet: one of IPv4 lies in the first word. */
struct probe_way {
	__u64 vip[2];
	__u64 source
		[2]; /* this host's address of the VIP's family, if the backend's address is of the other one */
	__u32 version; /* of the VIP's addresses */
	__u32 unused;
};

/* A probe as its socket has it: to this backend, from this address and port. */
struct probe_socket {
	__u64 source[2];
	__u32 backend;
	__be16 source_port;
	__be16 destination_port;
	__u32 protocol;
	__u32 unused;
};

/* The answers to a probe, as they come in. Probes to two backends of a VIP may have the same port; then one is given
 * another on its way.
 */
struct probe_answers {
	__u64 source[2];      /* the VIP's */
	__u64 destination[2]; /* this host's */
	__be16 source_port;
	__be16 destination_port;
	__u32 protocol;
};

/* Whose answers these are, and what its socket takes them for. */
struct probe_answer {
	struct probe_socket socket;
	__u64 backend[2]; /* the backend's own address */
	__u64 last_seen;  /* ns; of both directions */
	__u32 version;    /* of the socket's addresses */
	__u32 is_ending;  /* it has sent a FIN or a RST */
};

BPF_TABLE_PINNED("array", __u32, struct backend, backends, MAX_BACKENDS, BACKENDS_DIR "/backends");
BPF_TABLE_PINNED("hash", __u32, struct probe_way, probe_ways, MAX_BACKENDS, PIN_DIR "/probe_ways");

/* The port that a probe has on its way, by its socket; the oldest go first when it is full. */
BPF_TABLE_PINNED("lru_hash", struct probe_socket, __u32, probe_ports, PROBE_FLOWS, PIN_DIR "/probe_ports");
BPF_TABLE_PINNED("lru_hash", struct probe_answers, struct probe_answer, probe_answered, PROBE_FLOWS,
                 PIN_DIR "/probe_answered");

#endif
