/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Buckets of the generic cell rate algorithm (see layout.h): when one will be empty is all that is kept of it. */
#ifndef XDPLB_BUCKET_H
#define XDPLB_BUCKET_H

#include "decision.h"
#include "layout.h"

/* Whether one more passes. `empty_at` is when the bucket will be empty; no cost is above what a bucket holds. */
static __always_inline int bucket_has_room(__u64 empty_at, __u64 cost, __u64 now)
{
	return !cost || empty_at < now || empty_at + cost <= now + BUCKET_NS;
}

/* CPUs that do this at the same time may each let one more through, but no charge is lost. */
static __always_inline void bucket_charge(__u64 *empty_at, __u64 cost, __u64 now)
{
	if (!cost || !CHANGES_MAPS)
		return;
	if (*empty_at < now)
		*empty_at = now;
	__sync_fetch_and_add(empty_at, cost);
}

#endif
