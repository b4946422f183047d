/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* The balancer. A packet goes through these stages, and what each does depends on the packet's class (lib/classify.h):
 *
 *	parse → classify → admit → choose → send | answer | stop
 *
 * xdplb/reference/process.py has the same stages in Python, and docs/contributing.md says which file is which.
 */
#include "lib/access.h"
#include "lib/capture_out.h"
#include "lib/check.h"
#include "lib/choose.h"
#include "lib/classify.h"
#include "lib/counters.h"
#include "lib/decision.h"
#include "lib/decision_end.h"
#include "lib/echo.h"
#include "lib/flow_hash.h"
#include "lib/forward.h"
#include "lib/fragment.h"
#include "lib/handshake.h"
#include "lib/journey.h"
#include "lib/limits.h"
#include "lib/parse.h"
#include "lib/plain.h"
#include "lib/reject.h"
#include "lib/share_out.h"
#include "lib/too_big.h"
#include "lib/verdict.h"
#ifdef WITH_DECAP
#include "lib/unwrap.h"
#endif
#ifdef WITH_NAT
#include "lib/nat.h"
#endif

/* Each stage returns GO_ON, or the reason why the packet goes no further. */

/* A capture hands the frame out as it came in, if its addresses are known. */
static __always_inline enum reason parse(struct xdp_md *ctx, struct cursor *cursor, struct packet *packet)
{
	enum reason reason = packet->is_plain ? GO_ON : parse_packet(cursor, packet);

	if (reason != PASS_MALFORMED)
		capture_in(ctx, packet);
	return reason;
}

static __always_inline enum reason classify(const struct cursor *cursor, struct packet *packet,
                                            struct journey *journey)
{
	enum reason reason = classify_packet(cursor, packet, &journey->vip);

#ifdef WITH_NAT
	if (reason == GO_ON && nat_is_fragment(packet))
		return PASS_FRAGMENT;
#endif
	if (reason == GO_ON && classify_has_flow(packet)) {
		journey->vip_id = journey->vip.id;
		DECISION_FLAG(&journey->choice, DECISION_VIP);
	}
	/* Other ports of an address that has VIPs are the host's, and all fragments of what is sent to them. So are other
	 * protocols, which in IPv6 only the first fragment tells.
	 */
	if (packet->fragment == FRAGMENT_FIRST &&
	    (reason == PASS_NO_VIP || (packet->version == 6 && reason == PASS_NOT_TCP_UDP)) &&
	    vip_has_address(packet))
		fragment_record(packet, NO_BACKEND, 0, 0);
	return reason;
}

/* Access lists are about clients, and an ICMP error comes from a router anywhere. A fragment's VIP is not known yet. */
static __always_inline enum reason admit(struct xdp_md *ctx, const struct packet *packet,
                                         const struct journey *journey)
{
	enum reason reason;

	if (packet->class == CLASS_PING)
		return check_ping(ctx, packet);
	reason = check_packet(ctx, packet);
	if (reason != GO_ON || vip_is_straight(packet, &journey->vip))
		return reason;
	if (packet->class == CLASS_REQUEST)
		reason = access_check(packet, &journey->vip);
	if (reason == GO_ON && packet->class != CLASS_FRAGMENT)
		reason = limits_check(packet, journey->vip_id, journey->vip.flags);
	return reason;
}

/* The VIP's limits hold for fragments too, or one first fragment would let any number of others through. */
static __always_inline enum reason choose_for_fragment(const struct packet *packet, struct journey *journey)
{
	enum reason reason = fragment_find(packet, &journey->choice, &journey->vip_id);

	if (reason != GO_ON)
		return reason;
	DECISION_FLAG(&journey->choice, DECISION_VIP);
	journey->hash = hash_flow(packet);
	return limits_check(packet, journey->vip_id, VIP_LIMITED);
}

static __always_inline enum reason choose(struct xdp_md *ctx, const struct packet *packet,
                                          struct journey *journey)
{
	if (packet->class == CLASS_FRAGMENT)
		return choose_for_fragment(packet, journey);
	journey->hash = vip_is_straight(packet, &journey->vip) ? hash_flow(packet)
	                                                       : hash_for_vip(packet, &journey->vip);
	if (packet->class == CLASS_ICMP_ERROR)
		return choose_for_error(packet, &journey->vip, journey->hash, &journey->choice);
	return choose_for_request(ctx, packet, &journey->vip, journey->hash, &journey->choice);
}

/* Sends the packet to the backend chosen, and only then records and counts what follows from that. */
static __always_inline enum reason send(struct xdp_md *ctx, const struct packet *packet,
                                        struct journey *journey)
{
	struct choice *choice = &journey->choice;
	enum reason reason;

	if (check_is_link_local(ctx, packet) && forward_leaves_link(ctx, packet, choice->backend))
		return DROP_MARTIAN;
	reason = forward_packet(ctx, packet, choice->backend, journey->hash);
	if (reason == DROP_TOO_BIG)
		return too_big_answer(ctx, packet, choice->backend->mtu - forward_overhead(choice->backend));
	if (reason != GO_ON)
		return reason;
	journey->verdict = forward_out(ctx, choice->backend);
	if (journey->verdict == XDP_ABORTED)
		return rarely(packet, DROP_INTERNAL);
	if (choose_has_sequel(packet, choice)) {
		choose_record(packet, &journey->vip, choice);
		handshake_note(packet, journey->vip_id, journey->hash, choice);
	}
	if (packet->fragment == FRAGMENT_FIRST)
		fragment_record(packet, choice->id, choice->backend->epoch, journey->vip_id);
	count_sent(packet, journey->vip_id, choice);
	share_flow(packet, journey->vip_id, choice);
	return GO_ON;
}

/* What is for no VIP may be a reply of a NAT backend. Returns GO_ON for one that was sent, else why it was not. */
static __always_inline enum reason reply(struct xdp_md *ctx, struct packet *packet, struct journey *journey,
                                         enum reason reason)
{
#ifdef WITH_NAT
	if (reason == PASS_NO_VIP || reason == PASS_FRAGMENT || packet->class == CLASS_ICMP_ERROR) {
		reason = nat_reply(ctx, packet, journey, reason);
		if (packet->fragment == FRAGMENT_FIRST && (reason == GO_ON || reason == PASS_NAT_REPLY))
			fragment_record(packet, journey->choice.id, journey->choice.backend->epoch,
			                journey->vip_id);
		if (reason == GO_ON)
			count_reply(journey->vip_id, journey->choice.id);
	}
#endif
	return reason;
}

/* Reports the decision, in programs that do. */
static __always_inline int finish(struct xdp_md *ctx, const struct packet *packet, struct journey *journey,
                                  enum reason reason)
{
	decision_end(journey, reason);
	capture_out(ctx, packet, journey);
	return journey->verdict;
}

static __always_inline int stop(struct xdp_md *ctx, const struct packet *packet, struct journey *journey,
                                enum reason reason)
{
	count_stop(reason);
	journey->verdict = reason_verdict(reason);
	return finish(ctx, packet, journey, reason);
}

static __always_inline int balance(struct xdp_md *ctx, struct cursor cursor, struct packet packet,
                                   struct decision *decision)
{
	struct journey journey = {};
	enum reason reason;

	DECISION_AT(&journey.choice, decision);
	reason = parse(ctx, &cursor, &packet);
	if (reason != GO_ON)
		return stop(ctx, &packet, &journey, classify_malformed(&packet, reason));
	reason = classify(&cursor, &packet, &journey);
	if (reason != GO_ON) {
		reason = reply(ctx, &packet, &journey, reason);
		return reason == GO_ON ? finish(ctx, &packet, &journey, GO_ON)
		                       : stop(ctx, &packet, &journey, reason);
	}
	reason = admit(ctx, &packet, &journey);
	if (reason != GO_ON)
		return stop(ctx, &packet, &journey, reason);
	if (packet.class == CLASS_PING) /* an answer is counted and sent like a stop */
		return stop(ctx, &packet, &journey, echo_answer(ctx, &packet));
	reason = choose(ctx, &packet, &journey);
	if (reason != GO_ON)
		return stop(ctx, &packet, &journey, reject(ctx, &packet, journey.vip_id, reason));
	reason = send(ctx, &packet, &journey);
	if (reason != GO_ON)
		return stop(ctx, &packet, &journey, reason);
	return finish(ctx, &packet, &journey, GO_ON);
}

/* Compiled twice, once for each version, without what only the other needs; and each of these twice, for plain packets
 * and for the rest. `asm volatile` keeps calls apart: as one, what differs would be no constant (docs/verifier.md).
 */
#define BALANCE_APART(verdict) asm volatile("" : "+r"(verdict))

/* A frame that has no packet for us to parse, or one in a tunnel that is not taken out of it. */
static __always_inline int stop_frame(struct decision *decision, enum reason reason)
{
	struct journey journey = {};

	DECISION_AT(&journey.choice, decision);
	decision_end(&journey, reason);
	count_stop(reason);
	return reason_verdict(reason);
}

/* Whether `packet` is filled from a plain packet of this version. */
static __always_inline int is_plain(const struct cursor *frame, __u8 version, struct packet *packet)
{
	packet->version = version;
	packet->is_plain = 1;
	packet->ethernet = ETH_HLEN;
	packet->plain_length = frame->end - frame->at;
	packet->frame_length = packet->plain_length;
	return plain_parse(frame, packet);
}

/* `cursor` is behind the Ethernet header. */
static __always_inline int balance_other(struct xdp_md *ctx, struct cursor cursor, __u8 version,
                                         struct decision *decision)
{
	struct packet packet = {
		.version = version,
		.ethernet = parse_ethernet_length(ctx, &cursor),
		.frame_length = ctx->data_end - ctx->data,
	};

	return balance(ctx, cursor, packet, decision);
}

static __always_inline int verdict_on(struct xdp_md *ctx)
{
	struct cursor cursor = {(void *)(long)ctx->data, (void *)(long)ctx->data_end};
	const __u8 *frame = cursor.at;
	struct decision *decision = decision_begin();
	struct packet packet = {};
	int verdict;
	__be16 type;
#ifdef WITH_DECAP
	enum reason reason;
#endif

	if (NOTES_DECISIONS && !decision) {
		count_stop(DROP_INTERNAL);
		return reason_verdict(DROP_INTERNAL);
	}
	if (is_plain(&cursor, 4, &packet)) {
		verdict = balance(ctx, cursor, packet, decision);
		BALANCE_APART(verdict);
		return verdict;
	}
#ifdef WITH_IPV6
	if (is_plain(&cursor, 6, &packet)) {
		verdict = balance(ctx, cursor, packet, decision);
		BALANCE_APART(verdict);
		return verdict;
	}
#endif
	type = parse_ethernet(&cursor);
#ifdef WITH_DECAP
	if (type && *frame & MAC_GROUP) /* what is unwrapped has another beginning */
		return stop_frame(decision, parse_is_ip(type) ? PASS_NOT_UNICAST : PASS_NOT_IP);
	reason = unwrap(ctx, &cursor, &type);
	if (reason != GO_ON)
		return stop_frame(decision, reason);
#endif
	if (!parse_is_ip(type))
		return stop_frame(decision, PASS_NOT_IP);
#ifndef WITH_DECAP
	if (*frame & MAC_GROUP)
		return stop_frame(decision, PASS_NOT_UNICAST);
#endif
#ifdef WITH_IPV6
	if (type == NET16(ETH_P_IPV6)) {
		verdict = balance_other(ctx, cursor, 6, decision);
		BALANCE_APART(verdict);
		return verdict;
	}
#endif
	return balance_other(ctx, cursor, 4, decision);
}

int xdplb(struct xdp_md *ctx)
{
	int verdict = verdict_on(ctx);

	count_verdict(ctx, verdict);
	return verdict;
}
