/* What came of a packet, added to the notes on how. */
#ifndef XDPLB_DECISION_END_H
#define XDPLB_DECISION_END_H

#include "decision.h"
#include "packet.h"
#include "way.h"

/* `reason` is GO_ON for a packet that is sent on. */
static __always_inline void decision_end(const struct way *way, enum reason reason)
{
#ifdef WITH_DECISION
	struct decision *decision = way->choice.decision;

	decision->hash = way->hash;
	decision->reason = reason;
	decision->vip = way->vip.id;
	decision->backend = way->choice.id;
	if (way->choice.new_flow)
		decision->flags |= DECISION_NEW;
	if (way->choice.at_risk)
		decision->flags |= DECISION_AT_RISK;
#endif
}

#endif
