/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* The lines of records of open flows: finding a record in its line, and giving one a place there. layout.h has the why.
 *
 * Packets of different flows may want the same place at the same time, on different CPUs: it belongs to the one that has
 * put FLOW_BUSY into it. A reader that comes meanwhile finds no record. A record keeps its place until the control plane
 * empties it, or until another flow needs it and it has been silent for longer than its VIP's idle timeout.
 */
#ifndef XDPLB_FLOW_LINE_H
#define XDPLB_FLOW_LINE_H

#include "maps.h"
#include "packet.h"

#define FLOW_KEY_MASK ((1ULL << FLOW_KEY_BITS) - 1)
#define FLOW_NO_WAY FLOW_WAYS
#define FLOW_SECOND 1000000000ULL

/* Results of flow_line_add. */
#define FLOW_LINE_FULL 0
#define FLOW_LINE_ADDED 1
#define FLOW_LINE_REPLACED 2 /* in the place of a record that was silent for too long */

/* Odd multipliers: the first words of the fractions of the golden ratio, of the root of 3 and of pi, made odd. */
#define FLOW_MIX_A 0x9e3779b97f4a7c15ULL
#define FLOW_MIX_B 0xbb67ae8584caa73bULL
#define FLOW_MIX_C 0x243f6a8885a308d3ULL

/* The last word of a flow's key. */
static __always_inline __u64 flow_line_ports(const struct packet *packet)
{
	return packet->ports | (__u64)packet->protocol << 32;
}

static __always_inline __u64 flow_line_addresses(const struct packet *packet)
{
	return packet->source[0] | packet->destination[0] << 32;
}

/* Returns which line a flow's record is in. Clients who choose their ports so that they meet in one line make it full, and
 * the records of the others go to the kernel's table: no more is needed of the hash. xdplb/dataplane/flow_lines.py has
 * the same.
 */
static __always_inline __u32 flow_line_number(__u64 addresses, __u64 ports)
{
	__u64 hash = addresses * FLOW_MIX_A ^ ports * FLOW_MIX_B;

	hash ^= hash >> 29;
	hash *= FLOW_MIX_C;
	return (hash >> 32) * FLOW_LINES >> 32;
}

/* Returns `way`, which is one, within bounds that the verifier sees; the compiler would know better and leave them out. */
static __always_inline __u32 flow_line_bound(__u32 way)
{
	asm volatile("" : "+r"(way));
	return way & (FLOW_WAYS - 1);
}

static __always_inline struct flow_line *flow_line_of(const struct packet *packet)
{
	__u32 number = flow_line_number(flow_line_addresses(packet), flow_line_ports(packet));

	return flow_lines.lookup(&number);
}

/* Returns the flow's record in its line, NULL if it has none there. */
static __always_inline struct flow *flow_line_find4(const struct packet *packet)
{
	__u64 addresses = flow_line_addresses(packet), ports = flow_line_ports(packet);
	struct flow_line *line = flow_line_of(packet);
	__u32 way = FLOW_NO_WAY;

	if (!line)
		return NULL;
#pragma unroll
	for (int i = FLOW_WAYS - 1; i >= 0; i--) {
		const struct flow_place *place = &line->places[i];

		if (!((place->addresses ^ addresses) | ((place->ports ^ ports) & FLOW_KEY_MASK)))
			way = i;
		way = packet_blur(packet, way);
	}
	return way < FLOW_WAYS ? &line->places[flow_line_bound(way)].flow : NULL;
}

/* A place of either family, from the last word of its key on. */
struct flow_held {
	__u64 ports;
	struct flow flow;
};

/* Whether a place is one of a record that was silent for longer than its VIP's idle timeout. */
static __always_inline int flow_line_is_silent(const struct flow_held *held, __u64 now)
{
	return !(held->ports & FLOW_BUSY) &&
	       now > held->flow.last_seen + (held->ports >> FLOW_KEY_BITS) * FLOW_SECOND;
}

/* Takes a place in a line for a new record: an empty one, else that of a record which was silent for too long. Returns
 * NULL if there is none, or if another CPU was faster. `first` is in the line's first place, and the others follow at
 * a distance of `size` bytes; `before` is what the place had.
 */
static __always_inline struct flow_held *flow_line_take(const struct packet *packet, void *first, __u32 size,
                                                        __u64 now, __u64 *before)
{
	struct flow_held *held;
	__u32 way = FLOW_NO_WAY;

#pragma unroll
	for (int i = 0; i < FLOW_WAYS; i++) {
		if (flow_line_is_silent(first + i * size, now))
			way = i;
		way = packet_blur(packet, way);
	}
#pragma unroll
	for (int i = FLOW_WAYS - 1; i >= 0; i--) {
		held = first + i * size;
		if (!held->ports)
			way = i;
		way = packet_blur(packet, way);
	}
	if (way >= FLOW_WAYS)
		return NULL;
	held = first + flow_line_bound(way) * size;
	*before = held->ports;
	if (*before & FLOW_BUSY || __sync_val_compare_and_swap(&held->ports, *before, FLOW_BUSY) != *before)
		return NULL;
	return held;
}

/* Puts the record into a place that was taken and has its addresses. The last word says from then on whose it is; what was
 * written before it is seen before it.
 */
static __always_inline int flow_line_publish(const struct packet *packet, const struct vip *vip,
                                             const struct flow *flow, struct flow_held *held, __u64 before)
{
	held->flow = *flow;
	__sync_lock_test_and_set(&held->ports,
	                         flow_line_ports(packet) | (__u64)vip->idle_seconds << FLOW_KEY_BITS);
	return before ? FLOW_LINE_REPLACED : FLOW_LINE_ADDED;
}

/* Gives the record of a flow that has none a place in its line, if there is one. */
static __always_inline int flow_line_add4(const struct packet *packet, const struct vip *vip,
                                          const struct flow *flow)
{
	struct flow_line *line = flow_line_of(packet);
	struct flow_held *held;
	struct flow_place *place;
	__u64 before;

	if (!line)
		return FLOW_LINE_FULL;
	held = flow_line_take(packet, &line->places->ports, sizeof(*place), flow->last_seen, &before);
	if (!held)
		return FLOW_LINE_FULL;
	place = (void *)held - offsetof(struct flow_place, ports);
	place->addresses = flow_line_addresses(packet);
	return flow_line_publish(packet, vip, flow, held, before);
}

#ifdef WITH_IPV6
static __always_inline struct flow6_line *flow_line_of6(const struct packet *packet)
{
	__u64 addresses = (packet->source[0] ^ packet->destination[0] * FLOW_MIX_B) * FLOW_MIX_C +
	                  (packet->source[1] ^ packet->destination[1] * FLOW_MIX_B);
	__u32 number = flow_line_number(addresses, flow_line_ports(packet));

	return flow_lines6.lookup(&number);
}

static __always_inline struct flow *flow_line_find6(const struct packet *packet)
{
	__u64 ports = flow_line_ports(packet);
	struct flow6_line *line = flow_line_of6(packet);
	__u32 way = FLOW_NO_WAY;

	if (!line)
		return NULL;
#pragma unroll
	for (int i = FLOW_WAYS - 1; i >= 0; i--) {
		const struct flow6_place *place = &line->places[i];

		if (!((place->addresses[0] ^ packet->source[0]) | (place->addresses[1] ^ packet->source[1]) |
		      (place->addresses[2] ^ packet->destination[0]) |
		      (place->addresses[3] ^ packet->destination[1]) |
		      ((place->ports ^ ports) & FLOW_KEY_MASK)))
			way = i;
		way = packet_blur(packet, way);
	}
	return way < FLOW_WAYS ? &line->places[flow_line_bound(way)].flow : NULL;
}

static __always_inline int flow_line_add6(const struct packet *packet, const struct vip *vip,
                                          const struct flow *flow)
{
	struct flow6_line *line = flow_line_of6(packet);
	struct flow_held *held;
	struct flow6_place *place;
	__u64 before;

	if (!line)
		return FLOW_LINE_FULL;
	held = flow_line_take(packet, &line->places->ports, sizeof(*place), flow->last_seen, &before);
	if (!held)
		return FLOW_LINE_FULL;
	place = (void *)held - offsetof(struct flow6_place, ports);
	place->addresses[0] = packet->source[0];
	place->addresses[1] = packet->source[1];
	place->addresses[2] = packet->destination[0];
	place->addresses[3] = packet->destination[1];
	return flow_line_publish(packet, vip, flow, held, before);
}
#endif

static __always_inline struct flow *flow_line_find(const struct packet *packet)
{
#ifdef WITH_IPV6
	if (packet->version == 6)
		return flow_line_find6(packet);
#endif
	return flow_line_find4(packet);
}

static __always_inline int flow_line_add(const struct packet *packet, const struct vip *vip,
                                         const struct flow *flow)
{
#ifdef WITH_IPV6
	if (packet->version == 6)
		return flow_line_add6(packet, vip, flow);
#endif
	return flow_line_add4(packet, vip, flow);
}

#endif
