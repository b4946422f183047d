/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* What was chosen for a packet, and what follows from that once it is sent. */
#ifndef XDPLB_CHOICE_H
#define XDPLB_CHOICE_H

#include "decision.h"
#include "layout.h"

/* What a record said of a SYN, for choices that ask. */
#define CHOICE_NEW 0    /* it begins another flow */
#define CHOICE_KEPT 1   /* it stays where its flow is */
#define CHOICE_WAITED 2 /* the same, and it is sent again since nobody has answered the one before */

/* Zero before anything is chosen. */
struct choice {
	struct backend *backend;
	__u32 id;
	__u16 replaced; /* backend of the open flow whose record the new one replaces */
	__u8 record;    /* enum flow_table: where to write a record; FLOW_NOWHERE: not at all */
	__u8 lies_in;   /* enum flow_table: where the flow's key is now */
	__u8 at_risk;   /* an old connection that nothing could place */
	__u8 new_flow;  /* counts as a new flow */
	__u8 sampled;   /* its handshake is noted, see handshake.h */
#ifdef WITH_SECOND_CHOICE
	__u8 syn; /* CHOICE_* */
#endif
#ifdef WITH_SYNC
	__u8 share; /* FLOW_* and SHARED_* that other balancers are told, 0 for nothing */
#endif
	__u64 sealed; /* replaced to sampled as one word, see choose_blur */
#ifdef WITH_DECISION
	struct decision *decision;
#endif
};

#endif
