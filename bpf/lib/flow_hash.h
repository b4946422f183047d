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

/* Returns an address as one word. */
static __always_inline __u64 hash_fold(const struct packet *packet, const __u64 address[2])
{
	return packet->version == 6 ? address[0] * HASH6_ODD ^ address[1] : address[0];
}

/* The client's address and both ports, as nearly all VIPs hash. */
static __always_inline __u64 hash_flow(const struct packet *packet)
{
	return hash_mix(hash_fold(packet, packet->source) ^ (__u64)packet->ports << 32 ^ HASH_SEED);
}

/* What the VIP says. Masks, not branches, of which the verifier would follow each. */
static __always_inline __u64 hash_for_vip(const struct packet *packet, const struct vip *vip)
{
	__u64 key = hash_fold(packet, packet->source);
	__u64 ports = packet->ports & ((vip->flags / VIP_HASH_SOURCE & 1) - 1ULL);

#ifdef WITH_HASH
	__u64 port_alone = -(__u64)(vip->scheduler >> HASH_SHIFT & 1);
	__u64 addresses = -(__u64)(vip->scheduler >> HASH_SHIFT >> 1 & 1);
	__u64 asked = hash_fold(packet, packet->destination) & addresses;

	key = (key & ~port_alone) ^ (packet->version == 6 ? asked * HASH6_ODD : asked << 32);
	ports &= ~(port_alone & 0xffff) & ~addresses;
#endif
	return hash_mix(packet_blur(packet, key ^ ports << 32 ^ HASH_SEED));
}

#endif
