/* Records of flows: which backend has a connection that its slot alone does not tell. */
#ifndef XDPLB_FLOW_H
#define XDPLB_FLOW_H

#include "backend.h"
#include "maps.h"
#include "parse.h"

#define SECOND 1000000000ULL

/* A record is touched at most once in this time, so that its cache line does not move between CPUs for each packet. */
#define FLOW_TOUCH_AFTER SECOND

static __always_inline struct flow_key flow_key_of(const struct packet *packet)
{
	struct flow_key key = {
		.source = packet->source,
		.destination = packet->destination,
		.source_port = packet->ports,
		.destination_port = packet->ports >> 16,
		.protocol = packet->protocol,
	};
	return key;
}

/* What this packet adds to its record's flags. */
static __always_inline __u32 flow_flags_of(const struct packet *packet)
{
	__u32 flags = packet_is_syn(packet) ? 0 : FLOW_ESTABLISHED;

	if (packet->tcp_flags & TCP_FIN)
		flags |= FLOW_FIN;
	if (packet->tcp_flags & TCP_RST)
		flags |= FLOW_RST;
	return flags;
}

/* Returns the record, NULL where there is none that counts: its backend must be the one it was made for, and usable. */
static __always_inline struct flow *flow_find(struct flow_key *key)
{
	struct flow *flow = flows.lookup(key);
	struct backend *backend;

	if (!flow)
		return NULL;
	backend = backend_find(flow->backend);
	if (!backend_is_usable(backend) || backend->epoch != flow->epoch)
		return NULL;
	return flow;
}

/* Whether a SYN is the first of another connection: it ended, or was silent for as long as the VIP bridges. */
static __always_inline int flow_has_ended(const struct flow *flow, __u32 idle_seconds, __u64 now)
{
	return flow->flags & (FLOW_FIN | FLOW_RST) || now > flow->last_seen + idle_seconds * SECOND;
}

/* Not atomic: the packets of a flow come in on one CPU, and at worst a flag waits for the next one. */
static __always_inline void flow_touch(struct flow *flow, const struct packet *packet, __u64 now)
{
	__u32 flags = flow->flags | flow_flags_of(packet);

	if (flags != flow->flags)
		flow->flags = flags;
	if (now >= flow->last_seen + FLOW_TOUCH_AFTER)
		flow->last_seen = now;
}

static __always_inline void flow_record(const struct packet *packet, __u32 backend_id, __u16 epoch)
{
	struct flow_key key = flow_key_of(packet);
	struct flow flow = {
		.backend = backend_id,
		.epoch = epoch,
		.flags = flow_flags_of(packet),
		.last_seen = bpf_ktime_get_coarse_ns(),
	};

	flows.update(&key, &flow);
}

#endif
