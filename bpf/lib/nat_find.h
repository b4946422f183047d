/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Which NAT backend a packet comes from, by address, port and protocol. */
#ifndef XDPLB_NAT_FIND_H
#define XDPLB_NAT_FIND_H

#include "bytes.h"
#include "maps.h"
#include "packet.h"

/* `transport` is port and protocol as a tag has them. */
static __always_inline __u64 nat_hash(const struct packet *packet, __u64 transport)
{
	__u64 hash = (packet->source[0] | (packet->version == 4 ? transport << 32 : 0)) * NAT_SEED;

	if (packet->version == 6)
		hash += (packet->source[1] ^ transport) * NAT_SEED6;
	return (hash ^ hash >> 32) * NAT_SEED;
}

/* Asks the map that has all. */
static __always_inline __u32 nat_find_elsewhere(const struct packet *packet, __be16 port)
{
	struct nat_key key = {
		.address = {packet->source[0], packet->source[1]},
		.port = port,
		.protocol = packet->protocol,
		.version = packet->version,
	};
	__u32 *id = nat_backends.lookup(&key);

	return id ? *id : NO_BACKEND;
}

/* Returns the id of the backend that has this port, or all ports (0), and probably this packet's source address. */
static __always_inline __u32 nat_find_port(const struct packet *packet, __be16 port)
{
	__u64 transport = port | (__u64)packet->protocol << 16;
	__u64 hash = nat_hash(packet, transport);
	__u64 wanted = (transport | (hash << NAT_HASH_SHIFT & NAT_HASH_BITS)) << NAT_TAG_SHIFT;
	__u32 number = hash >> NAT_GROUP_SHIFT;
	const struct nat_group *group = nat_index.lookup(&number);
	__u64 place;

	if (!group)
		return NO_BACKEND;
#pragma unroll
	for (int i = 0; i < NAT_WAYS; i++) {
		place = read_u64(&group->places[i]);
		if (!((place ^ wanted) >> NAT_TAG_SHIFT))
			return place & NAT_ID_BITS;
	}
	return place == NAT_ELSEWHERE ? nat_find_elsewhere(packet, port) : NO_BACKEND;
}

/* Returns the id of the backend that this probably comes from, NO_BACKEND if it is none. */
static __always_inline __u32 nat_find(const struct packet *packet)
{
	__u32 id = nat_find_port(packet, packet->ports);

#ifdef WITH_WILDCARD
	if (id == NO_BACKEND)
		id = nat_find_port(packet, 0);
#endif
	return id;
}

#endif
