/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Records of flows: which backend has a connection, where its slot alone does not tell.
 *
 * Each IP version has two tables. A record made by a SYN is on probation until the connection sends another packet,
 * then it is among the open ones: a SYN flood evicts only records on probation. A record made by a datagram or by a
 * segment of an old connection is among the open ones at once: like a keepalive, it may be the only packet for a long
 * time.
 */
#ifndef XDPLB_FLOW_H
#define XDPLB_FLOW_H

#include "backend.h"
#include "decision.h"
#include "backend_load.h"
#include "flow_line.h"
#include "maps.h"
#include "packet.h"

#define SECOND 1000000000ULL

/* A record is written at most once in this time, so that its cache line does not move between CPUs for each packet. */
#define FLOW_TOUCH_AFTER SECOND

/* The longest time from a client's first SYN to one that it sends again. Linux sends the last of six after 63 s
 * (tcp_syn_retries), and the clock is coarse.
 */
#define FLOW_SYN_AGAIN (64 * SECOND)

#define FLOW_ENDED (FLOW_FIN | FLOW_RST)

enum flow_table {
	FLOW_NOWHERE,
	FLOW_PROBATION,
	FLOW_OPEN,
	FLOW_PROBATION_SECOND, /* on probation, with FLOW_SECOND_CHOICE */
};

static __always_inline struct flow_key flow_key_of(const struct packet *packet)
{
	struct flow_key key = {
		.source = packet->source[0],
		.destination = packet->destination[0],
		.source_port = packet->ports,
		.destination_port = packet->ports >> 16,
		.protocol = packet->protocol,
	};
	return key;
}

static __always_inline struct flow6_key flow6_key_of(const struct packet *packet)
{
	struct flow6_key key = {
		.source = {packet->source[0], packet->source[1]},
		.destination = {packet->destination[0], packet->destination[1]},
		.source_port = packet->ports,
		.destination_port = packet->ports >> 16,
		.protocol = packet->protocol,
	};
	return key;
}

/* The flags that this packet adds to its record. */
static __always_inline __u32 flow_flags_of(const struct packet *packet)
{
	__u32 flags = packet_is_syn(packet) ? 0 : FLOW_ESTABLISHED;

	if (packet->tcp_flags & TCP_FIN)
		flags |= FLOW_FIN;
	if (packet->tcp_flags & TCP_RST)
		flags |= FLOW_RST;
	return flags;
}

/* Returns the packet's record among the open ones, valid or not, NULL if there is none. */
static __always_inline struct flow *flow_find_open(const struct packet *packet)
{
	struct flow *flow = flow_line_find(packet);

	if (flow)
		return flow;
#ifdef WITH_IPV6
	if (packet->version == 6) {
		struct flow6_key key = flow6_key_of(packet);

		return flows6.lookup(&key);
	}
#endif
	struct flow_key key = flow_key_of(packet);

	return flows.lookup(&key);
}

/* Returns the packet's record, valid or not, NULL if there is none; sets `table` to where it is. */
static __always_inline struct flow *flow_find(const struct packet *packet, __u8 *table)
{
	struct flow *flow = flow_find_open(packet);

	*table = FLOW_OPEN;
	if (flow)
		return flow;
#ifdef WITH_IPV6
	if (packet->version == 6) {
		struct flow6_key key = flow6_key_of(packet);

		flow = probation6.lookup(&key);
		*table = flow ? FLOW_PROBATION : FLOW_NOWHERE;
		return flow;
	}
#endif
	struct flow_key key = flow_key_of(packet);

	flow = probation.lookup(&key);
	*table = flow ? FLOW_PROBATION : FLOW_NOWHERE;
	return flow;
}

/* Returns the backend of a valid record: it must still be the one that the record was made for, and usable. Else NULL. */
static __always_inline const struct backend *flow_backend(const struct flow *flow)
{
	const struct backend *backend;

	if (!flow)
		return NULL;
	backend = backend_find(flow->backend);
	return backend_is_usable(backend) && backend->epoch == flow->epoch ? backend : NULL;
}

/* Whether a SYN that was noted is that of an earlier connection: where each SYN is noted, most are followed by packets that
 * look no record up.
 */
static __always_inline int flow_is_forgotten(const struct flow *flow, const struct vip *vip, __u64 now)
{
#ifdef WITH_SECOND_CHOICE
	return vip->flags & VIP_SECOND_CHOICE && now > flow->last_seen + FLOW_SYN_AGAIN;
#endif
	return 0;
}

/* Whether the packet begins another flow. In UDP the idle time alone says so. In TCP it is a SYN, on a connection that
 * ended or was idle for longer than the VIP's idle timeout, or the second in a row where the backend takes nothing new:
 * the first may be a stray, which the backend knows best how to answer, but then it has left the client without an answer.
 */
static __always_inline int flow_is_new(const struct flow *flow, const struct backend *backend,
                                       const struct packet *packet, const struct vip *vip, __u64 now)
{
	int idle = now > flow->last_seen + vip->idle_seconds * SECOND;

	if (packet->protocol == IPPROTO_UDP)
		return idle;
	if (!packet_is_syn(packet))
		return 0;
	if (flow->flags & FLOW_ENDED || idle)
		return 1;
	return !(flow->flags & FLOW_ESTABLISHED) &&
	       (backend->flags & BACKEND_NOTHING_NEW || flow_is_forgotten(flow, vip, now));
}

/* Whether the packet shows that the flow lives. A SYN speaks for another connection, a RST ends this one, and a FIN comes
 * again where nobody answers: none of them may keep the record of a dead connection fresh.
 */
static __always_inline int flow_is_alive(const struct flow *flow, const struct packet *packet)
{
	if (packet->tcp_flags & TCP_FIN && flow->flags & FLOW_FIN)
		return 0;
	return !packet_is_syn(packet) && !(packet->tcp_flags & TCP_RST);
}

/* Keeps the compiler from merging two calls that differ only in their map: the merged call would not be inlined. */
#define FLOW_APART(table) asm volatile("" ::"i"(table))

/* Writes a record to the kernel's table of open flows. */
static __always_inline long flow_write_overflow(const struct packet *packet, struct flow *flow)
{
#ifdef WITH_IPV6
	if (packet->version == 6) {
		struct flow6_key key = flow6_key_of(packet);

		return flows6.update(&key, flow);
	}
#endif
	struct flow_key key = flow_key_of(packet);

	return flows.update(&key, flow);
}

static __always_inline void flow_write_probation(const struct packet *packet, struct flow *flow)
{
#ifdef WITH_IPV6
	if (packet->version == 6) {
		struct flow6_key key = flow6_key_of(packet);

		probation6.update(&key, flow);
		FLOW_APART(FLOW_PROBATION);
		return;
	}
#endif
	struct flow_key key = flow_key_of(packet);

	probation.update(&key, flow);
	FLOW_APART(FLOW_PROBATION);
}

static __always_inline void flow_end_probation(const struct packet *packet)
{
#ifdef WITH_IPV6
	if (packet->version == 6) {
		struct flow6_key key = flow6_key_of(packet);

		probation6.delete(&key);
		return;
	}
#endif
	struct flow_key key = flow_key_of(packet);

	probation.delete(&key);
}

/* Writes a record in the place of one of the open ones. */
static __always_inline void flow_replace_open(const struct packet *packet, struct flow *flow)
{
	struct flow *held = flow_line_find(packet);

	if (held)
		*held = *flow;
	else
		flow_write_overflow(packet, flow);
}

/* Adds a record to the open ones, and only then removes it from probation: other CPUs always find one of the two. */
static __always_inline void flow_add_open(const struct packet *packet, const struct vip *vip,
                                          struct flow *flow, __u8 table)
{
	__u32 vip_id = flow->vip;
	struct vip_counters *counters;
	int added = flow_line_add(packet, vip, flow);

	if (added == FLOW_LINE_FULL && flow_write_overflow(packet, flow))
		return;
	if (table == FLOW_PROBATION)
		flow_end_probation(packet);
	if (added == FLOW_LINE_REPLACED) /* one more and one less: none was evicted */
		return;
	counters = vip_stats.lookup(&vip_id);
	if (counters)
		counters->records += 1;
}

/* Returns what a packet shows of a flow among the open ones that other balancers do not know yet, `flags` being the record's
 * with it: that the client was answered after a SYN, or has ended the connection. A RST may be somebody else's.
 */
static __always_inline __u8 flow_news(const struct flow *flow, const struct packet *packet, __u32 flags)
{
	__u32 gained = flags & ~flow->flags;

	if (gained & FLOW_ESTABLISHED)
		return packet->tcp_flags & TCP_RST ? 0 : flags | SHARED_OPENED;
	return gained & FLOW_ENDED ? flags : 0;
}

/* Updates a record for a packet of its flow, and returns the FLOW_* and SHARED_* that other balancers are told, 0 for
 * nothing. This is not atomic: the packets of a flow come in on one CPU, and at worst a flag is set only by the next packet.
 */
static __always_inline __u8 flow_use(struct flow *flow, __u8 table, const struct packet *packet,
                                     const struct vip *vip, __u64 now)
{
	__u32 flags = (flow->flags & ~(FLOW_ESTABLISHED | FLOW_FROM_PEER)) | flow_flags_of(packet);
	int alive = flow_is_alive(flow, packet);
#ifdef WITH_SYNC
	__u8 news = packet_blur(packet, table == FLOW_OPEN ? flow_news(flow, packet, flags) : 0);
#else
	__u8 news = 0;
#endif

	if (!CHANGES_MAPS)
		return 0;
	if (flags & FLOW_ENDED && !(flow->flags & FLOW_ENDED))
		backend_load_remove(vip, flow->backend);
	/* Not for a RST: it may be the reply of a host whose address a SYN flood has forged. */
	if (table == FLOW_PROBATION && !packet_is_syn(packet) && !(packet->tcp_flags & TCP_RST)) {
		struct flow open = *flow;

		open.flags = flags;
		open.last_seen = now;
		flow_add_open(packet, vip, &open, table);
		return flags | SHARED_OPENED;
	}
	if (flags != flow->flags)
		flow->flags = flags;
	if (alive && now >= flow->last_seen + FLOW_TOUCH_AFTER)
		flow->last_seen = now;
	return news;
}

/* Writes the record of a new flow, or of an old one that had none. `lies_in` is where the key is now; `to` is where the
 * record goes if that is nowhere or on probation.
 */
static __always_inline void flow_record(const struct packet *packet, const struct vip *vip, __u32 backend_id,
                                        __u16 epoch, __u8 lies_in, __u8 to)
{
	struct flow flow = {
		.backend = backend_id,
		.epoch = epoch,
		.flags = flow_flags_of(packet) | (to == FLOW_PROBATION_SECOND ? FLOW_SECOND_CHOICE : 0),
		.vip = vip->id,
		.last_seen = bpf_ktime_get_coarse_ns(),
	};

	if (!(flow.flags & FLOW_ENDED))
		backend_load_add(vip, backend_id);
	if (lies_in == FLOW_OPEN)
		flow_replace_open(packet, &flow);
	else if (to == FLOW_OPEN)
		flow_add_open(packet, vip, &flow, lies_in);
	else
		flow_write_probation(packet, &flow);
}

#endif
