/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Fragments: only the first one of a packet has ports. Where it went is remembered, and the others follow it. Non-first
 * fragments that arrive before the first are dropped: to hold them back would take memory that anybody could fill.
 */
#ifndef XDPLB_FRAGMENT_H
#define XDPLB_FRAGMENT_H

#include "backend.h"
#include "choose.h"
#include "decision.h"
#include "maps.h"
#include "packet.h"

#define FRAGMENT_NS (FRAGMENT_SECONDS * 1000000000ULL)

/* IPv6's fragments do not have their next header in common (RFC 8200, 4.5). */
static __always_inline struct fragment_key fragment_key_of(const struct packet *packet)
{
	struct fragment_key key = {
		.source = {packet->source[0], packet->source[1]},
		.destination = {packet->destination[0], packet->destination[1]},
		.id = packet->fragment_id,
		.protocol = packet->version == 6 ? 0 : packet->protocol,
	};
	return key;
}

/* Whether a fragment would write other flags into a TCP header that has been looked at (RFC 1858, 3.2.2; RFC 3128). Only
 * the first fragment tells for sure that it is TCP.
 */
static __always_inline int fragment_overlaps(const struct packet *packet, const struct fragment *first)
{
	return packet->fragment == FRAGMENT_INSIDE && first->protocol == IPPROTO_TCP;
}

/* Chooses the backend that the packet's first fragment was sent to, and says for which VIP; or returns why there is
 * none.
 */
static __always_inline enum reason fragment_find(const struct packet *packet, struct choice *choice,
                                                 __u32 *vip_id)
{
	struct fragment_key key = fragment_key_of(packet);
	struct fragment *first = fragments.lookup(&key);
	struct backend *backend;

	if (!first || first->last_seen + FRAGMENT_NS < bpf_ktime_get_coarse_ns())
		return DROP_FRAGMENT;
	if (fragment_overlaps(packet, first))
		return DROP_TCP_FRAGMENT;
	if (first->backend == NO_BACKEND)
		return PASS_FRAGMENT;
	backend = backend_find(first->backend);
	if (!backend_is_usable(backend) || backend->epoch != first->epoch)
		return DROP_FRAGMENT;
	choice->backend = backend;
	choice->id = first->backend;
	DECISION_NOTE(choice, chosen, CHOSEN_FRAGMENT);
	*vip_id = first->vip;
	return GO_ON;
}

/* Remembers where the first fragment of a packet was sent; NO_BACKEND: it was passed to the host. */
static __always_inline void fragment_record(const struct packet *packet, __u16 backend_id, __u16 epoch,
                                            __u32 vip_id)
{
	struct fragment_key key = fragment_key_of(packet);
	struct fragment first = {
		.backend = backend_id,
		.epoch = epoch,
		.vip = vip_id,
		.last_seen = bpf_ktime_get_coarse_ns(),
		.protocol = packet->protocol,
	};

	if (CHANGES_MAPS)
		fragments.update(&key, &first);
}

#endif
