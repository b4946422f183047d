/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* The maps of decap.c, pinned under PIN_DIR by these names, and its counters. */
#ifndef XDPLB_DECAP_MAPS_H
#define XDPLB_DECAP_MAPS_H

#include "decap_reasons.h"

#define DECAP_MAPPED                                                                                         \
	0xffff0000ULL /* in the second word of an IPv4 address, beside the address itself (::ffff:a.b.c.d) */

/* In network order. */
struct decap_address {
	__u64 words[2];
};

/* The host's addresses at which tunnels end; other tunnels are passed. The value is not used. */
BPF_TABLE_PINNED("hash", struct decap_address, __u32, decap_addresses, 64, PIN_DIR "/decap_addresses");

/* Per CPU: no lock, no cache line that moves between CPUs. */
BPF_TABLE_PINNED("percpu_array", __u32, __u64, decap_stats, DECAP_REASONS, PIN_DIR "/decap_stats");

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
