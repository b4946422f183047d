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
#ifdef WITH_NAT
	__u32 reply_ifindex; /* a reply is sent by this NIC, 0 for any other packet */
#endif
};

#endif
