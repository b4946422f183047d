/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* What becomes of a packet that stops: its reason's number says so. */
#ifndef XDPLB_VERDICT_H
#define XDPLB_VERDICT_H

#include "reasons.h"

static __always_inline int reason_verdict(enum reason reason)
{
	if (reason < REASON_DROP)
		return XDP_PASS;
	return reason < REASON_ANSWER ? XDP_DROP : XDP_TX;
}

#endif
