/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* For backends whose kernel has no tunnel modules: unwraps IPv4 or IPv6 in IPv4, in IPv6 (RFC 2003, 2473, 4213) or in
 * GUE that is sent to one of the host's own addresses, and passes the inner packet to the stack. Everything else is
 * passed unchanged.
 */
#include "lib/decap.h"

int decap(struct xdp_md *ctx)
{
	struct tunnel tunnel;
	enum decap_reason reason = tunnel_parse(ctx, &tunnel);

	if (reason == DECAP_UNWRAPPED)
		reason = tunnel_unwrap(ctx, &tunnel);
	return decap_count(reason);
}
