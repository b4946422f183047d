/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* VIPs of several ports or addresses: the rules of the longest prefix around an address. */
#ifndef XDPLB_VIP_PREFIX_H
#define XDPLB_VIP_PREFIX_H

#include "maps.h"
#include "packet.h"

/* RULE_TCP or RULE_UDP. TCP's number is even, UDP's odd: no branch, of which the verifier would follow both sides. */
static __always_inline __u8 rule_of_protocol(__u8 protocol)
{
	return RULE_TCP + (protocol & 1);
}

static __always_inline const struct vip_rules *vip_rules4(const struct packet *packet)
{
	struct prefix4 key = {.length = 32, .address = packet->destination[0]};
	__u32 zero = 0;
	void *inner = vip_prefixes.lookup(&zero);

	return inner ? bpf_map_lookup_elem(inner, &key) : NULL;
}

#ifdef WITH_IPV6
static __always_inline const struct vip_rules *vip_rules6(const struct packet *packet)
{
	struct prefix6 key = {.length = 128};
	__u32 zero = 0;
	void *inner = vip_prefixes6.lookup(&zero);

	__builtin_memcpy(key.address, packet->destination, sizeof(key.address));
	return inner ? bpf_map_lookup_elem(inner, &key) : NULL;
}
#endif

static __always_inline const struct vip_rules *vip_rules_of(const struct packet *packet)
{
#ifdef WITH_IPV6
	if (packet->version == 6)
		return vip_rules6(packet);
#endif
	return vip_rules4(packet);
}

/* The first rule that matches wins. `unused` is 0; adding it hides from the verifier which rule it is, so that it does
 * not follow each of them through the rest of the program.
 */
static __always_inline const struct vip *vip_by_prefix(const struct packet *packet)
{
	const struct vip_rules *rules = vip_rules_of(packet);
	__u8 protocol = rule_of_protocol(packet->protocol);
	__u16 port = NET16(packet->ports >> 16);

	if (!rules)
		return NULL;
	for (__u32 i = 0; i < VIP_RULES; i++) {
		const struct vip_rule *rule = &rules->rules[i];

		if (i >= rules->count)
			return NULL;
		if (rule->protocols & protocol && rule->first_port <= port && port <= rule->last_port)
			return &rules->rules[(i + rules->unused) % VIP_RULES].vip;
	}
	return NULL;
}

#endif
