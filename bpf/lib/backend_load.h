/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* A backend's load: how many open flows it has, for the schedulers that ask for it. Exact only as long as every flow
 * ends with a FIN or RST; the control plane corrects it after each scan of the flow tables.
 */
#ifndef XDPLB_BACKEND_LOAD_H
#define XDPLB_BACKEND_LOAD_H

#include "maps.h"

#ifdef WITH_SCHEDULERS

static __always_inline int backend_load_is_kept(const struct vip *vip)
{
	return VIP_SCHEDULER(vip) == SCHEDULER_LEAST || VIP_SCHEDULER(vip) == SCHEDULER_TWO;
}

static __always_inline void backend_load_add(const struct vip *vip, __u32 backend_id)
{
	struct backend_load *load;

	if (!backend_load_is_kept(vip))
		return;
	load = backend_loads.lookup(&backend_id);
	if (load)
		__sync_fetch_and_add(&load->flows, 1);
}

/* Not below 0: a correction may have left the flow out already. Two CPUs at the same time can still get below 0, which
 * is why the comparison is signed.
 */
static __always_inline void backend_load_remove(const struct vip *vip, __u32 backend_id)
{
	struct backend_load *load;

	if (!backend_load_is_kept(vip))
		return;
	load = backend_loads.lookup(&backend_id);
	if (load && (__s64)load->flows > 0)
		__sync_fetch_and_add(&load->flows, -1);
}

#else

static __always_inline void backend_load_add(const struct vip *vip, __u32 backend_id)
{
}

static __always_inline void backend_load_remove(const struct vip *vip, __u32 backend_id)
{
}

#endif
#endif
