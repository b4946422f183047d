/* How many open flows a backend has, for the schedulers that ask. Exact only as long as every flow ends with a FIN or RST;
 * the control plane sets it right after each scan of the flow tables.
 */
#ifndef XDPLB_BACKEND_LOAD_H
#define XDPLB_BACKEND_LOAD_H

#include "maps.h"

#ifdef WITH_SCHEDULERS

static __always_inline int backend_load_is_kept(const struct vip *vip)
{
	return vip->scheduler == SCHEDULER_LEAST || vip->scheduler == SCHEDULER_TWO;
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

/* Not below 0: a correction may have counted the flow as gone already. Two CPUs at once may still get there, so that below
 * 0 is none, too, and not a great many.
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
