/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* For backends whose kernel has no tunnel modules: unwraps IPv4 or IPv6 in IPv4, in IPv6 (RFC 2003, 2473, 4213) or in
 * GUE that is sent to one of the host's own addresses, and passes the inner packet to the stack. Everything else is
 * passed unchanged.
 */
#include "lib/decap.h"
#include "lib/decap_maps.h"

/* Tags are not parsed: on a backend they are the NIC's affair. */
static __always_inline enum decap_reason parse(struct xdp_md *ctx, struct tunnel *tunnel)
{
	struct cursor cursor = {(void *)(long)ctx->data, (void *)(long)ctx->data_end};
	struct ethhdr *ethernet = cursor.at;
	struct tunnel_ends ends;
	enum decap_reason reason;

	if ((void *)(ethernet + 1) > cursor.end)
		return DECAP_PASS_OTHER;
	cursor.at = ethernet + 1;
	reason = tunnel_find(&cursor, ethernet->h_proto, &ends);
	if (reason == DECAP_UNWRAPPED && !decap_is_ours(&ends))
		return DECAP_PASS_OTHER;
	return reason == DECAP_UNWRAPPED ? tunnel_parse(&cursor, ethernet->h_proto, tunnel) : reason;
}

int decap(struct xdp_md *ctx)
{
	struct tunnel tunnel;
	enum decap_reason reason = parse(ctx, &tunnel);

	if (reason == DECAP_UNWRAPPED)
		reason = tunnel_unwrap(ctx, &tunnel, ETH_HLEN, TUNNEL_ENDS);
	return decap_count(reason);
}
