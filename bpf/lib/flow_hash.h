/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* The hash of a flow: all balancers of a cluster, and xdplb/balance/hashing.py, compute the same.
 *
 * The high half picks the slot, the low half the outer source address or port of a tunnel, so that the two are
 * independent.
 */
#ifndef XDPLB_FLOW_HASH_H
#define XDPLB_FLOW_HASH_H

#include "layout.h"
#include "packet.h"

#define HASH_SEED 0x9e3779b97f4a7c15ULL
#define HASH6_ODD 0x9fb21c651e98df25ULL

/* The finalizer of MurmurHash3 (A. Appleby, public domain): every bit of x affects every bit of the result. */
static __always_inline __u64 hash_mix(__u64 x)
{
	x ^= x >> 33;
	x *= 0xff51afd7ed558ccdULL;
	x ^= x >> 33;
	x *= 0xc4ceb9fe1a85ec53ULL;
	x ^= x >> 33;
	return x;
}

static __always_inline __u64 hash_flow(const struct packet *packet, __u8 vip_flags)
{
	__u64 key = packet->source[0];

	if (packet->version == 6)
		key = key * HASH6_ODD ^ packet->source[1];
	if (!(vip_flags & VIP_HASH_SOURCE))
		key ^= (__u64)packet->ports << 32;
	return hash_mix(key ^ HASH_SEED);
}

#endif
