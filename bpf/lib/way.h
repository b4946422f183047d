/* Where a packet goes, as far as that is known. */
#ifndef XDPLB_WAY_H
#define XDPLB_WAY_H

#include "choose.h"
#include "layout.h"

struct way {
	struct vip vip; /* of a later fragment, its id, and VIP_LIMITED */
	struct choice choice;
	__u64 hash;
};

#endif
