/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* What was decided about a packet so far. */
#ifndef XDPLB_JOURNEY_H
#define XDPLB_JOURNEY_H

#include "choose.h"
#include "layout.h"

struct journey {
	struct vip vip; /* the packet's flow names it; of a fragment only the id is known */
	__u32 vip_id;
	struct choice choice;
	__u64 hash;
	int verdict; /* XDP_* */
	__u32 out;   /* ifindex of the NIC that a reply is sent by; 0: the backend's */
};

#endif
