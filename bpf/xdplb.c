/* The balancer. A packet's way: parse, vip, check, choose, forward, out; or it stops, for a reason that is counted. */
#include "lib/access.h"
#include "lib/capture_out.h"
#include "lib/check.h"
#include "lib/choose.h"
#include "lib/counters.h"
#include "lib/decision.h"
#include "lib/decision_end.h"
#include "lib/forward.h"
#include "lib/fragment.h"
#include "lib/hash.h"
#include "lib/limits.h"
#include "lib/parse.h"
#include "lib/too_big.h"
#include "lib/vip.h"
#include "lib/way.h"

/* However the packet was parsed: the rest is the same for the verifier. */
static __always_inline void blur_packet(struct packet *packet)
{
	packet->protocol = packet_blur(packet, packet->protocol);
	packet->tcp_flags = packet_blur(packet, packet->tcp_flags);
	packet->fragment = packet_blur(packet, packet->fragment);
	packet->icmp_error = packet_blur(packet, packet->icmp_error);
#ifdef WITH_QUIC
	packet->transport = packet_blur(packet, packet->transport);
#endif
#ifdef WITH_VLAN
	packet->ethernet = packet_blur(packet, packet->ethernet) & VLAN_ETHERNET_BITS;
#endif
}

/* Packets for addresses without VIPs are not ours to drop. */
static __always_inline enum reason unparsed(const struct packet *packet, enum reason reason)
{
	if (reason != DROP_BAD_LENGTH && reason != DROP_EXTENSION)
		return reason;
	return vip_has_address(packet) ? reason : PASS_MALFORMED;
}

/* Access lists are of clients, and ICMP errors come from routers anywhere. */
static __always_inline enum reason admit(struct xdp_md *ctx, const struct packet *packet,
                                         const struct vip *vip)
{
	enum reason reason = check_packet(ctx, packet);

	if (reason == GO_ON && !packet->icmp_error)
		reason = access_check(packet, vip);
	if (reason == GO_ON)
		reason = limits_check(packet, vip);
	return reason;
}

/* A packet for none of the VIPs is the host's. So are the fragments behind it: where the address has VIPs, on other ports,
 * nothing else tells.
 */
static __always_inline enum reason leave(const struct packet *packet, enum reason reason)
{
	if (packet->fragment == FRAGMENT_FIRST && vip_has_address(packet))
		fragment_record(packet, NO_BACKEND, 0, 0);
	return reason;
}

static __always_inline enum reason find_way(struct xdp_md *ctx, const struct packet *packet, struct way *way)
{
	enum reason reason = vip_of_packet(packet, &way->vip);

	if (reason != GO_ON)
		return packet->icmp_error ? PASS_NOT_TCP_UDP : leave(packet, reason);
	DECISION_FLAG(&way->choice, DECISION_VIP);
	reason = admit(ctx, packet, &way->vip);
	if (reason != GO_ON)
		return reason;
	way->hash = hash_flow(packet, way->vip.flags);
	return choose_backend(ctx, packet, &way->vip, way->hash, &way->choice);
}

/* A later fragment follows the first one, within the VIP's limits: or one would let any number of others through. */
static __always_inline enum reason follow_way(struct xdp_md *ctx, const struct packet *packet,
                                              struct way *way)
{
	enum reason reason;
	__u32 vip_id;

	if (!vip_has_address(packet))
		return PASS_FRAGMENT;
	reason = check_packet(ctx, packet);
	if (reason != GO_ON)
		return reason;
	reason = fragment_find(packet, &way->choice, &vip_id);
	if (reason != GO_ON)
		return reason;
	DECISION_FLAG(&way->choice, DECISION_VIP);
	/* Where the VIP has no limits, all costs are 0. */
	way->vip = (struct vip){.id = vip_id, .flags = VIP_LIMITED};
	way->hash = hash_flow(packet, 0);
	return limits_check(packet, &way->vip);
}

/* What later packets need to know of one that was sent on. */
static __always_inline void remember(const struct packet *packet, const struct way *way)
{
	choose_record(packet, &way->vip, &way->choice);
	if (packet->fragment == FRAGMENT_FIRST)
		fragment_record(packet, way->choice.id, way->choice.backend->epoch, way->vip.id);
}

/* The way of a packet ends here, for a reason that is counted. */
static __always_inline int stop(struct xdp_md *ctx, const struct packet *packet, const struct way *way,
                                enum reason reason)
{
	int verdict = count_stop(reason);

	decision_end(way, reason);
	capture_out(ctx, packet, way, verdict);
	return verdict;
}

/* A frame without a packet that we look at. */
static __always_inline int leave_frame(struct decision *decision, enum reason reason)
{
	struct way way = {};

	DECISION_AT(&way.choice, decision);
	decision_end(&way, reason);
	return count_stop(reason);
}

/* Made twice by the compiler, once for each version, without what the other one needs. */
static __always_inline int balance(struct xdp_md *ctx, struct cursor cursor, __u8 version,
                                   struct decision *decision)
{
	struct packet packet = {
		.version = version,
		.ethernet = parse_ethernet_length(ctx, &cursor),
		.frame_length = ctx->data_end - ctx->data,
	};
	struct way way = {};
	enum reason reason;
	int verdict;

	DECISION_AT(&way.choice, decision);
	reason = parse_packet(ctx, &cursor, &packet);
	if (reason != GO_ON)
		return stop(ctx, &packet, &way, unparsed(&packet, reason));
	blur_packet(&packet);

	reason = packet.fragment == FRAGMENT_LATER ? follow_way(ctx, &packet, &way)
	                                           : find_way(ctx, &packet, &way);
	if (reason != GO_ON)
		return stop(ctx, &packet, &way, reason);
	choose_blur(&packet, &way.choice);

	reason = forward_packet(ctx, &packet, way.choice.backend, way.hash);
	if (reason == DROP_TOO_BIG)
		reason = too_big_answer(ctx, &packet,
		                        way.choice.backend->mtu - forward_overhead(way.choice.backend));
	if (reason != GO_ON)
		return stop(ctx, &packet, &way, reason);

	verdict = forward_out(ctx, way.choice.backend);
	if (verdict == XDP_ABORTED)
		return stop(ctx, &packet, &way, DROP_INTERNAL);

	remember(&packet, &way);
	count_sent(&packet, way.vip.id, &way.choice);
	decision_end(&way, GO_ON);
	capture_out(ctx, &packet, &way, verdict);
	return verdict;
}

int xdplb(struct xdp_md *ctx)
{
	struct cursor cursor = {(void *)(long)ctx->data, (void *)(long)ctx->data_end};
	const __u8 *frame = cursor.at;
	__be16 type = parse_ethernet(&cursor);
	struct decision *decision = decision_begin();
	int verdict;

	if (NOTES_DECISIONS && !decision)
		return count_stop(DROP_INTERNAL);
	if (!parse_is_ip(type))
		return leave_frame(decision, PASS_NOT_IP);
	if (*frame & MAC_GROUP)
		return leave_frame(decision, PASS_NOT_UNICAST);
#ifdef WITH_IPV6
	if (type == NET16(ETH_P_IPV6)) {
		verdict = balance(ctx, cursor, 6, decision);
		/* Only here, or the compiler might make one call of the two, with a version that is no constant. */
		asm volatile("" : "+r"(verdict));
		return verdict;
	}
#endif
	return balance(ctx, cursor, 4, decision);
}
