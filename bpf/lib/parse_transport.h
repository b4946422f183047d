/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* The ports and flags of TCP and UDP. */
#ifndef XDPLB_PARSE_TRANSPORT_H
#define XDPLB_PARSE_TRANSPORT_H

#include "bytes.h"
#include "packet.h"

/* `length` is that of the IP payload: a header may be inside the frame but outside the packet. */
static __always_inline enum reason parse_tcp(struct cursor *cursor, struct packet *packet, __u32 length)
{
	__u32 header;

	if (length < TCP_HEADER || cursor->at + TCP_HEADER > cursor->end)
		return DROP_BAD_LENGTH;
	header = (*(__u8 *)(cursor->at + 12) >> 4) * 4;
	if (header < TCP_HEADER || header > length)
		return DROP_BAD_LENGTH;
	packet->ports = read_u32(cursor->at);
	packet->tcp_flags = *(__u8 *)(cursor->at + 13);
	return GO_ON;
}

/* The datagram may be shorter than the IP payload. In a first fragment it is longer: the length is that of the whole.
 */
static __always_inline enum reason parse_udp(struct cursor *cursor, struct packet *packet, __u32 length)
{
	__u32 datagram;

	if (length < UDP_HEADER || cursor->at + UDP_HEADER > cursor->end)
		return DROP_BAD_LENGTH;
	datagram = NET16(*(__be16 *)(cursor->at + 4));
	if (datagram < UDP_HEADER || (datagram > length && packet->fragment != FRAGMENT_FIRST))
		return DROP_BAD_LENGTH;
	packet->ports = read_u32(cursor->at);
	return GO_ON;
}

/* Non-first fragments and other protocols have no ports. */
static __always_inline enum reason parse_transport(struct cursor *cursor, struct packet *packet)
{
	__u32 length = packet->ip_length - packet->transport;

	if (packet_is_later_fragment(packet))
		return GO_ON;
	if (packet->protocol == IPPROTO_TCP)
		return parse_tcp(cursor, packet, length);
	return packet->protocol == IPPROTO_UDP ? parse_udp(cursor, packet, length) : GO_ON;
}

#endif
