/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Health checks by the way that the traffic goes: a probe, which the host sends to a backend's own address, goes to the
 * VIP's address on that backend instead, as a packet of a client would be sent on; and the answer, which comes from the VIP's
 * address, is given to the probe as if it came from the backend's.
 *
 * Two programs of the kind that tc runs, on each NIC of the balancer: `probe_out` on what leaves, `probe_in` on what comes.
 * Packets that xdplb sends on pass neither of the two; those of the host pass both, and are left alone.
 */
#include "lib/probe_answer.h"
#include "lib/probe_send.h"

/* A packet with the mark of a probe leaves for the backend with the id in its mark, or is dropped: it must not go to the
 * backend's own address, where an answer would say nothing.
 */
int probe_out(struct __sk_buff *skb)
{
	struct backend *backend;
	struct probe_way *way;
	__u32 id = skb->mark & PROBE_BACKEND;

	if ((skb->mark & ~PROBE_BACKEND) != PROBE_MARK)
		return TC_ACT_UNSPEC;
	backend = backends.lookup(&id);
	way = probe_ways.lookup(&id);
	if (!backend || !way || !backend->ifindex)
		return TC_ACT_SHOT;
	return probe_send(skb, way, backend, id);
}

int probe_in(struct __sk_buff *skb)
{
	struct probe_packet packet;
	struct probe_answer *answer;

	if (!probe_may_be_answer(skb) || probe_parse(skb, &packet))
		return TC_ACT_UNSPEC;
	answer = probe_find(&packet);
	return answer ? probe_take(skb, &packet, answer) : TC_ACT_UNSPEC;
}
