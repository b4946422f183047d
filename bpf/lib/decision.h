/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* What was decided about a packet, and how, for the programs that report it. Other programs have nothing of this.
 *
 * A program compiled WITH_EXPLAIN decides as the one on the NICs does, leaves the decision in a map, and changes
 * nothing else: whatever writes to a map checks CHANGES_MAPS first, a constant.
 */
#ifndef XDPLB_DECISION_H
#define XDPLB_DECISION_H

#include "maps.h"

#ifdef WITH_EXPLAIN
#define CHANGES_MAPS 0
#else
#define CHANGES_MAPS 1
#endif

#if defined(WITH_EXPLAIN) || defined(WITH_CAPTURE)
#define WITH_DECISION
#define NOTES_DECISIONS 1
#else
#define NOTES_DECISIONS 0
#endif

/* Note in a choice how it was made, in programs that report it. */
#ifdef WITH_DECISION
#define DECISION_AT(choice, where) ((choice)->decision = (where))
#define DECISION_NOTE(choice, member, value) ((choice)->decision->member = (value))
#define DECISION_FLAG(choice, flag) ((choice)->decision->flags |= (flag))
#else
#define DECISION_AT(choice, where)
#define DECISION_NOTE(choice, member, value)
#define DECISION_FLAG(choice, flag)
#endif

/* Returns where the decision about this packet is noted: in a map, because the verifier would follow each value on the
 * stack through the rest of the program. NULL if nothing is noted, or there is no such map.
 */
static __always_inline struct decision *decision_begin(void)
{
	struct decision *decision = NULL;
	__u32 zero = 0;

#if defined(WITH_EXPLAIN)
	decision = explain_decision.lookup(&zero);
#elif defined(WITH_CAPTURE)
	decision = capture_decision.lookup(&zero);
#endif
	if (decision)
		*decision = (struct decision){};
	return decision;
}

#endif
