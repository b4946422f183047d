/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Which connections are sampled: see layout.h. What is done with them once a packet is sent is in handshake.h. */
#ifndef XDPLB_HANDSHAKE_SAMPLE_H
#define XDPLB_HANDSHAKE_SAMPLE_H

#include "maps.h"

/* Whether the connection is one of the sample; datagrams may be, too. */
static __always_inline int handshake_is_sampled(const struct vip *vip, __u64 hash)
{
#ifdef WITH_PASSIVE
	__u32 vip_id = vip->id;
	const __u32 *share;

	if (!(vip->flags & VIP_SAMPLED))
		return 0;
	share = handshake_shares.lookup(&vip_id);
	return share && (__u32)hash < *share;
#else
	return 0;
#endif
}

#endif
