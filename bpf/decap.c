/* For backends whose kernel has no ipip module: unwraps IPIP (RFC 2003) sent to one of the host's own addresses and
 * lets the stack see the packet inside. Everything else passes as it is.
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
