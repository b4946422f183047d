/* For backends whose kernel has no tunnel modules: unwraps IPv4 and IPv6 in IPv4 and IPv6 (RFC 2003, 2473, 4213) and in
 * GUE that is sent to one of the host's own addresses, and lets the stack see the packet inside. Everything else passes as
 * it is.
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
