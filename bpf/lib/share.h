/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Which connections other balancers are told of: those of slots that are moving or pinned, where records alone say where
 * they are, and those of second choices. Of VIPs that say so, all that are recorded. What is handed out is what a record
 * says; the control plane sends it (docs/cluster.md).
 */
#ifndef XDPLB_SHARE_H
#define XDPLB_SHARE_H

#include "choice.h"
#include "flow.h"
#include "layout.h"
#include "less.h"
#include "packet.h"

#define SHARE_UNSETTLED 0x80 /* in `share`: the slot does not tell where the flow is */

/* Notes what flow_use returned. */
static __always_inline void share_note(struct choice *choice, __u8 news)
{
#ifdef WITH_SYNC
	choice->share = news;
#endif
}

static __always_inline __u64 share_of(const struct choice *choice)
{
#ifdef WITH_SYNC
	return choice->share;
#endif
	return 0;
}

/* For choose_blur: see there. */
static __always_inline void share_blur(const struct packet *packet, struct choice *choice)
{
#ifdef WITH_SYNC
	choice->share = packet_blur(packet, choice->share);
#endif
}

/* What is told, as bits of `sealed`. */
#define SHARE_SHIFT 56

static __always_inline __u64 share_sealed(const struct choice *choice)
{
	return share_of(choice) << SHARE_SHIFT;
}

static __always_inline void share_unseal(struct choice *choice)
{
	share_note(choice, choice->sealed >> SHARE_SHIFT);
}

/* Makes the choice tell of the record that it makes, of one that is open at once, and say whether the slot does not tell the
 * same. Without a branch: all that leads here would be followed twice from here on.
 */
static __always_inline void share_choose(const struct packet *packet, __u64 slot, struct choice *choice)
{
#ifdef WITH_SYNC
	__u64 is_made = 1 ^ less_u64(0, choice->record ^ FLOW_OPEN);
	__u64 made = FLOW_ESTABLISHED | (packet->tcp_flags & TCP_FIN) << 1 | (packet->tcp_flags & TCP_RST);
	__u64 told = packet_blur(packet, choice->share | (made & -is_made));

	choice->share = told | (SHARE_UNSETTLED & -(less_u64(0, told) & less_u64(0, SLOT_PREVIOUS(slot))));
#endif
}

#endif
