/* The balancer. A packet's way: parse, vip, choose, forward, out; or it stops, for a reason that is counted. */
#include "lib/choose.h"
#include "lib/counters.h"
#include "lib/flow.h"
#include "lib/forward.h"
#include "lib/hash.h"
#include "lib/parse.h"
#include "lib/vip.h"

int xdplb(struct xdp_md *ctx)
{
	struct packet packet;
	const struct vip_entry *vip;
	struct choice choice;
	enum reason reason;
	__u32 vip_id;
	__u64 hash;
	int verdict;

	reason = parse_packet(ctx, &packet);
	if (reason != GO_ON)
		return count_stop(reason);

	reason = vip_of_packet(&packet, &vip);
	if (reason != GO_ON)
		return count_stop(reason);

	hash = hash_flow(&packet, vip->flags);
	reason = choose_backend(&packet, vip, hash, &choice);
	if (reason != GO_ON)
		return count_stop(reason);

	reason = forward_packet(ctx, &packet, choice.backend, hash);
	if (reason != GO_ON)
		return count_stop(reason);

	verdict = forward_out(ctx, choice.backend);
	if (verdict == XDP_ABORTED)
		return count_stop(DROP_INTERNAL);

	if (choice.record)
		flow_record(&packet, choice.id, choice.backend->epoch);
	count_sent(&packet, vip->id, &choice);
	return verdict;
}
