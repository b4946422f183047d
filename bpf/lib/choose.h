/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Which backend gets a packet: the owner of its slot, unless the slot is moving and a record or the previous owner
 * comes first, or the VIP's scheduler chooses per connection. docs/slots.md has the table of cases.
 */
#ifndef XDPLB_CHOOSE_H
#define XDPLB_CHOOSE_H

#include "backend.h"
#include "choice.h"
#include "decision.h"
#include "flow.h"
#include "handshake_sample.h"
#include "maps.h"
#include "packet.h"
#include "quic.h"
#include "schedule.h"
#include "second_choice.h"
#include "share.h"
#include "slot.h"
#include "vip.h"

/* UDP has no SYN that tells a new flow from an old one: its flows move with the slot, unless the VIP records all flows.
 */
static __always_inline int choose_needs_flow(const struct packet *packet, const struct vip *vip, __u64 slot)
{
	if (vip->flags & VIP_TRACK_ALWAYS)
		return 1;
	if (second_choice_is_asked(packet, vip) && packet_is_syn(packet))
		return 1;
	return !slot_is_steady(slot) && packet->protocol == IPPROTO_TCP;
}

/* Whether the previous owner of the slot gets an old connection that has no record. */
static __always_inline int choose_previous(const struct vip *vip, __u64 slot)
{
	return VIP_SCHEDULER(vip) == SCHEDULER_HASH && slot_is_moving(slot) &&
	       backend_is_usable(backend_find(SLOT_PREVIOUS(slot)));
}

/* An old TCP connection without a valid record. Returns whether the previous owner gets it. */
static __always_inline int choose_old(const struct packet *packet, const struct vip *vip, __u64 slot,
                                      struct choice *choice)
{
	int always = vip->flags & VIP_TRACK_ALWAYS;
	int previous = choose_previous(vip, slot);

	if (previous) {
		choice->id = SLOT_PREVIOUS(slot);
		DECISION_NOTE(choice, chosen, CHOSEN_PREVIOUS);
	}
	choice->at_risk = always || !previous;
	/* A pinned slot records nothing new. */
	if ((always || previous) && !(packet->tcp_flags & TCP_RST))
		choice->record = FLOW_OPEN;
	return previous;
}

/* Returns whether a record or the previous owner decides; if not, the slot or the scheduler does. */
static __always_inline int choose_by_flow(const struct packet *packet, const struct vip *vip, __u64 slot,
                                          struct choice *choice)
{
	__u64 now = bpf_ktime_get_coarse_ns();
	struct flow *flow = flow_find(packet, &choice->lies_in);
	const struct backend *valid = flow_backend(flow);

	if (valid)
		DECISION_FLAG(choice, DECISION_RECORD);
	if (valid && !flow_is_new(flow, valid, packet, vip, now)) {
		choice->id = flow->backend;
		DECISION_NOTE(choice, chosen, CHOSEN_RECORD);
#ifdef WITH_SECOND_CHOICE
		choice->syn = second_choice_of_record(flow, now);
#endif
		share_note(choice, flow_use(flow, choice->lies_in, packet, vip, now));
		return 1;
	}
	if (packet->protocol == IPPROTO_TCP && !packet_is_syn(packet))
		return choose_old(packet, vip, slot, choice);
	if (valid && !(flow->flags & FLOW_ENDED))
		choice->replaced = flow->backend;
	/* An invalid record is overwritten: it would become valid for this flow too when its backend is back. */
	if (choice->lies_in != FLOW_NOWHERE || vip->flags & (VIP_TRACK_ALWAYS | VIP_SECOND_CHOICE) ||
	    slot_is_moving(slot))
		choice->record = packet->protocol == IPPROTO_TCP ? FLOW_PROBATION : FLOW_OPEN;
	return 0;
}

/* Looks up the backend chosen, and whether it may be sent to. */
static __always_inline enum reason choose_settle(const struct packet *packet, struct choice *choice)
{
	if (!packet->is_plain && choice->id == NO_BACKEND)
		return DROP_NO_BACKEND;
	choice->backend = backend_find(choice->id);
	if (!choice->backend)
		return rarely(packet, DROP_INTERNAL);
	if (backend_is_usable(choice->backend)) /* never NO_BACKEND's element, which is all zeros */
		return GO_ON;
	return rarely(packet, choice->id == NO_BACKEND ? DROP_NO_BACKEND : DROP_BACKEND_DOWN);
}

/* Whether a QUIC connection ID names a backend that may be sent to. */
static __always_inline int choose_by_quic(struct xdp_md *ctx, const struct packet *packet,
                                          const struct vip *vip, struct choice *choice)
{
#ifdef WITH_QUIC
	if (vip->quic && packet_blur(packet, packet->protocol) == IPPROTO_UDP) {
		choice->id = quic_find_backend(ctx, packet, vip);
		DECISION_NOTE(choice, chosen, CHOSEN_QUIC);
		return choose_settle(packet, choice) == GO_ON;
	}
#endif
	return 0;
}

#define CHOICE_NEW_FLOW (1ULL << 40)
#define CHOICE_SAMPLED (1ULL << 41)

/* However the choice was made, the rest of the program is the same to the verifier. Of a plain packet, what follows once
 * it is sent becomes one word, which is 0 for nearly all of them: choose_has_sequel then asks once.
 */
static __always_inline void choose_blur(const struct packet *packet, struct choice *choice)
{
	if (packet->is_plain) {
		choice->sealed = packet_blur(
			packet, choice->replaced | (__u32)choice->record << 16 |
					(__u32)choice->lies_in << 24 | (__u64)choice->at_risk << 32 |
					choice->new_flow * CHOICE_NEW_FLOW |
					choice->sampled * CHOICE_SAMPLED | share_sealed(choice));
		return;
	}
	choice->replaced = packet_blur(packet, choice->replaced);
	choice->record = packet_blur(packet, choice->record);
	choice->lies_in = packet_blur(packet, choice->lies_in);
	choice->at_risk = packet_blur(packet, choice->at_risk);
	choice->new_flow = packet_blur(packet, choice->new_flow);
	choice->sampled = packet_blur(packet, choice->sampled);
	share_blur(packet, choice);
}

static __always_inline void choose_unseal(const struct packet *packet, struct choice *choice)
{
	if (!packet->is_plain)
		return;
	choice->replaced = choice->sealed;
	choice->record = choice->sealed >> 16;
	choice->lies_in = choice->sealed >> 24;
	choice->at_risk = choice->sealed >> 32;
	choice->new_flow = choice->sealed >> 40 & 1;
	choice->sampled = choice->sealed >> 41;
	share_unseal(choice);
}

/* Whether more than counting the packet follows once it is sent; the choice then says what. */
static __always_inline int choose_has_sequel(const struct packet *packet, struct choice *choice)
{
	if (packet->is_plain && !choice->sealed)
		return 0;
	choose_unseal(packet, choice);
	return 1;
}

/* Replaces the slot's owner by the backend that the VIP's scheduler chooses, if it has one that chooses per connection.
 */
static __always_inline void choose_by_scheduler(const struct packet *packet, const struct vip *vip,
                                                const struct vip_table *table, __u64 hash,
                                                struct choice *choice)
{
#ifdef WITH_SCHEDULERS
	if (VIP_SCHEDULER(vip) != SCHEDULER_HASH) {
		choose_blur(packet, choice);
		choose_unseal(packet, choice);
		asm volatile(""
		             : "+r"(table)); /* else the compiler keeps for this whether there is a table */
		choice->id = schedule_flow(vip, table, hash);
		DECISION_NOTE(choice, chosen, CHOSEN_SCHEDULER);
	}
#endif
}

/* Chooses the owner of the slot that the hash falls into. Returns the slot; `table` is NULL if the VIP has none. */
static __always_inline __u64 choose_by_slot(const struct vip_table *table, __u64 hash, struct choice *choice)
{
	__u64 slot = slot_find(table, hash >> 32);

	choice->id = SLOT_OWNER(slot);
	DECISION_NOTE(choice, slot_number, (hash >> 32) * TABLE_SIZE >> 32);
	DECISION_NOTE(choice, slot, slot);
	DECISION_NOTE(choice, chosen, choice->id ? CHOSEN_OWNER : CHOSEN_NOBODY);
	DECISION_FLAG(choice, DECISION_SLOT);
	return slot;
}

/* A SYN may go to another backend than the one chosen so far. */
static __always_inline enum reason choose_second(const struct packet *packet, const struct vip *vip,
                                                 const struct vip_table *table, __u64 hash,
                                                 struct choice *choice)
{
#ifdef WITH_SECOND_CHOICE
	if (second_choice_is_asked(packet, vip) && packet_is_syn(packet)) {
		choose_blur(packet, choice);
		choose_unseal(packet, choice);
		return second_choice_make(packet, table, hash, choice);
	}
#endif
	return GO_ON;
}

/* The later packets of a connection that went to another one follow it, also in a steady slot. */
static __always_inline void choose_by_second(const struct packet *packet, const struct vip *vip,
                                             struct choice *choice)
{
#ifdef WITH_SECOND_CHOICE
	if (second_choice_is_asked(packet, vip))
		second_choice_by_record(packet, vip, choice);
#endif
}

/* Fills `choice` for a packet of a client, or returns why there is none. */
static __always_inline enum reason choose_for_request(struct xdp_md *ctx, const struct packet *packet,
                                                      const struct vip *vip, __u64 hash,
                                                      struct choice *choice)
{
	enum reason reason = GO_ON;
	const struct vip_table *table;
	__u64 slot;

	if (!vip_is_straight(packet, vip) && choose_by_quic(ctx, packet, vip, choice))
		return GO_ON;
	table = slot_table(vip->id);
	slot = choose_by_slot(table, hash, choice);
	if (vip_is_straight(packet, vip) && slot_is_steady(slot)) {
		choice->new_flow = packet_is_syn(packet);
		choice->sealed = choice->new_flow ? CHOICE_NEW_FLOW : 0;
		if (handshake_is_sampled(vip, hash))
			choice->sealed |= CHOICE_SAMPLED;
		return choose_settle(packet, choice);
	}
	if (choose_needs_flow(packet, vip, slot)) {
		if (!choose_by_flow(packet, vip, slot, choice))
			choose_by_scheduler(packet, vip, table, hash, choice);
		reason = choose_second(packet, vip, table, hash, choice);
		share_choose(packet, slot, choice);
	} else {
		choose_by_second(packet, vip, choice);
	}
	choice->new_flow = packet_is_syn(packet) || (choice->record && packet->protocol == IPPROTO_UDP);
	choice->sampled = handshake_is_sampled(vip, hash);
	choose_blur(packet, choice);
	return reason == GO_ON ? choose_settle(packet, choice) : reason;
}

/* The same for an ICMP error, which goes where the flow it is about goes. Nothing is recorded for it. */
static __always_inline enum reason choose_for_error(const struct packet *packet, const struct vip *vip,
                                                    __u64 hash, struct choice *choice)
{
	__u64 slot = choose_by_slot(slot_table(vip->id), hash, choice);

	if (choose_needs_flow(packet, vip, slot)) {
		__u8 table;
		struct flow *flow = flow_find(packet, &table);

		if (flow_backend(flow)) {
			choice->id = flow->backend;
			DECISION_NOTE(choice, chosen, CHOSEN_RECORD);
			DECISION_FLAG(choice, DECISION_RECORD);
			return choose_settle(packet, choice);
		}
	}
#ifdef WITH_SECOND_CHOICE
	else if (second_choice_is_asked(packet, vip) && second_choice_for_error(packet, vip, choice))
		return choose_settle(packet, choice);
#endif
	if (VIP_SCHEDULER(vip) != SCHEDULER_HASH)
		return PASS_NOT_TCP_UDP;
	if (packet->protocol == IPPROTO_TCP && choose_previous(vip, slot)) {
		choice->id = SLOT_PREVIOUS(slot);
		DECISION_NOTE(choice, chosen, CHOSEN_PREVIOUS);
	}
	return choose_settle(packet, choice);
}

/* Writes the flow's record, if one is to be written, once the packet is sent. */
static __always_inline void choose_record(const struct packet *packet, const struct vip *vip,
                                          const struct choice *choice)
{
	if (choice->record == FLOW_NOWHERE || !CHANGES_MAPS)
		return;
	if (choice->replaced != NO_BACKEND)
		backend_load_remove(vip, choice->replaced);
	flow_record(packet, vip, choice->id, choice->backend->epoch, choice->lies_in, choice->record);
#ifdef WITH_SECOND_CHOICE
	if (choice->record == FLOW_PROBATION_SECOND)
		second_choice_note_stray(vip);
#endif
}

#endif
