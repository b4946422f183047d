/* The decision on a packet, left in a map by a program compiled WITH_EXPLAIN. */
#ifndef XDPLB_EXPLAIN_H
#define XDPLB_EXPLAIN_H

#include "decision.h"
#include "maps.h"
#include "packet.h"
#include "way.h"

/* `reason` is GO_ON for a packet that is sent on. */
static __always_inline void explain_way(const struct way *way, enum reason reason)
{
#ifdef WITH_EXPLAIN
	__u32 zero = 0;
	struct decision *decision = explain_decision.lookup(&zero);

	if (!decision)
		return;
	*decision = way->choice.decision;
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
