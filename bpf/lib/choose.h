/* Which backend gets a packet: its slot's owner, unless the slot is changing and a record or the previous owner has a
 * better claim. docs/connections.md has the table of cases.
 */
#ifndef XDPLB_CHOOSE_H
#define XDPLB_CHOOSE_H

#include "backend.h"
#include "flow.h"
#include "maps.h"
#include "parse.h"
#include "slot.h"

struct choice {
	struct backend *backend;
	__u32 id;
	__u8 record;   /* to be written to the flow table */
	__u8 at_risk;  /* an old connection that nothing could place */
	__u8 new_flow; /* counts as one */
};

/* UDP has no SYN to tell a new flow from an old one: it moves with its slot, unless the VIP records all flows. */
static __always_inline int choose_needs_flow(const struct packet *packet, const struct vip_entry *vip,
                                             __u32 slot)
{
	if (vip->flags & VIP_TRACK_ALWAYS)
		return 1;
	return !slot_is_steady(slot) && packet->protocol == IPPROTO_TCP;
}

/* No record counts. The choice stands at the owner. */
static __always_inline void choose_unrecorded(const struct packet *packet, const struct vip_entry *vip,
                                              __u32 slot, struct choice *choice)
{
	int old = packet->protocol == IPPROTO_TCP && !packet_is_syn(packet);

	if (old && !slot_is_steady(slot)) {
		if (slot_is_moving(slot) && backend_is_usable(backend_find(SLOT_PREVIOUS(slot))))
			choice->id = SLOT_PREVIOUS(slot);
		else
			choice->at_risk = 1;
	}
	/* A pinned slot records nothing new, and neither does a packet that no record could place. */
	choice->record = vip->flags & VIP_TRACK_ALWAYS || (slot_is_moving(slot) && !choice->at_risk);
	if (packet->tcp_flags & TCP_RST)
		choice->record = 0;
}

static __always_inline void choose_by_flow(const struct packet *packet, const struct vip_entry *vip,
                                           __u32 slot, struct choice *choice)
{
	struct flow_key key = flow_key_of(packet);
	__u64 now = bpf_ktime_get_coarse_ns();
	struct flow *flow = flow_find(&key);

	if (!flow) {
		choose_unrecorded(packet, vip, slot, choice);
	} else if (packet_is_syn(packet) && flow_has_ended(flow, vip->idle_seconds, now)) {
		choice->record = 1;
	} else {
		flow_touch(flow, packet, now);
		choice->id = flow->backend;
	}
}

/* Fills `choice`, or returns why there is none. */
static __always_inline enum reason choose_backend(const struct packet *packet, const struct vip_entry *vip,
                                                  __u64 hash, struct choice *choice)
{
	__u32 slot = slot_find(vip->id, hash);

	choice->id = SLOT_OWNER(slot);
	choice->record = 0;
	choice->at_risk = 0;
	if (choose_needs_flow(packet, vip, slot))
		choose_by_flow(packet, vip, slot, choice);
	if (choice->id == NO_BACKEND)
		return DROP_NO_BACKEND;
	choice->backend = backend_find(choice->id);
	if (!choice->backend)
		return DROP_INTERNAL;
	if (!backend_is_usable(choice->backend))
		return DROP_BACKEND_DOWN;
	choice->new_flow = packet_is_syn(packet) || (choice->record && packet->protocol == IPPROTO_UDP);
	return GO_ON;
}

#endif
