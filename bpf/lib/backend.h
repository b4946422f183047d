/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Backends by id. */
#ifndef XDPLB_BACKEND_H
#define XDPLB_BACKEND_H

#include "maps.h"

static __always_inline struct backend *backend_find(__u32 id)
{
	return backends.lookup(&id);
}

static __always_inline int backend_is_usable(const struct backend *backend)
{
	return backend && backend->flags & BACKEND_USABLE;
}

#endif
