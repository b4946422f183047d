/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* What became of a packet, added to the notes on how it was decided. */
#ifndef XDPLB_DECISION_END_H
#define XDPLB_DECISION_END_H

#include "decision.h"
#include "packet.h"
#include "journey.h"

/* `reason` is GO_ON for a packet that was sent. */
static __always_inline void decision_end(const struct journey *journey, enum reason reason)
{
#ifdef WITH_DECISION
	struct decision *decision = journey->choice.decision;

	decision->hash = journey->hash;
	decision->reason = reason;
	decision->vip = journey->vip_id;
	decision->backend = journey->choice.id;
	if (journey->choice.new_flow)
		decision->flags |= DECISION_NEW;
	if (journey->choice.at_risk)
		decision->flags |= DECISION_AT_RISK;
#endif
}

#endif
