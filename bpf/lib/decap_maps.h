/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* The maps of decap.c, pinned under PIN_DIR by these names, and its counters. */
#ifndef XDPLB_DECAP_MAPS_H
#define XDPLB_DECAP_MAPS_H

#include "decap_reasons.h"
#include "tunnel_ends.h"

/* In network order. */
struct decap_address {
	__u64 words[2];
};

/* The host's addresses at which tunnels end; other tunnels are passed. The value is not used. */
BPF_TABLE_PINNED("hash", struct decap_address, __u32, decap_addresses, 64, PIN_DIR "/decap_addresses");

/* Per CPU: no lock, no cache line that moves between CPUs. */
BPF_TABLE_PINNED("percpu_array", __u32, __u64, decap_stats, DECAP_REASONS, PIN_DIR "/decap_stats");

static __always_inline int decap_is_ours(const struct tunnel_ends *ends)
{
	struct decap_address address;

	__builtin_memcpy(&address, ends->to, sizeof(address));
	return decap_addresses.lookup(&address) != 0;
}

/* Counts what became of a frame and returns its verdict. */
static __always_inline int decap_count(enum decap_reason reason)
{
	__u32 key = reason;
	__u64 *packets = decap_stats.lookup(&key);

	if (packets)
		*packets += 1;
	return DECAP_DROPS >> reason & 1 ? XDP_DROP : XDP_PASS;
}

#endif
