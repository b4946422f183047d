/* The IPv4 header. */
#ifndef XDPLB_PARSE_IPV4_H
#define XDPLB_PARSE_IPV4_H

#include "packet.h"

#define IP_MORE_FRAGMENTS NET16(0x2000)
#define IP_FRAGMENT_OFFSET NET16(0x1fff)

static __always_inline enum reason parse_ipv4(struct cursor *cursor, struct packet *packet)
{
	struct iphdr *ip = cursor->at;
	__u32 header;

	if ((void *)(ip + 1) > cursor->end || ip->version != 4)
		return PASS_MALFORMED;
	header = ip->ihl * 4;
	packet->ip_length = NET16(ip->tot_len);
	packet->source[0] = ip->saddr;
	packet->source[1] = 0;
	packet->destination[0] = ip->daddr;
	packet->destination[1] = 0;
	packet->tos = ip->tos;
	packet->ttl = ip->ttl;
	packet->protocol = ip->protocol;
	packet->fragment_protocol = ip->protocol;
	packet->fragment_id = ip->id;
	if (header < sizeof(*ip) || packet->ip_length < header ||
	    packet->ip_length > cursor->end - cursor->at)
		return DROP_BAD_LENGTH;
	if (ip->frag_off & IP_FRAGMENT_OFFSET)
		packet->fragment = FRAGMENT_LATER;
	else if (ip->frag_off & IP_MORE_FRAGMENTS)
		packet->fragment = FRAGMENT_FIRST;
	cursor->at += header;
	packet->transport = header;
	return GO_ON;
}

#endif
