/* What becomes of a packet that stops for a reason. */
#ifndef XDPLB_VERDICT_H
#define XDPLB_VERDICT_H

#include "packet.h"

/* PASS_*, DROP_* and ANSWER_* follow each other in enum reason. */
static __always_inline int reason_verdict(enum reason reason)
{
	if (reason < DROP_FRAGMENT)
		return XDP_PASS;
	return reason < ANSWER_ECHO ? XDP_DROP : XDP_TX;
}

#endif
