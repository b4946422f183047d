/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* What became of a frame on a backend: one counter each in decap_stats. DECAP_DROP_* is dropped.
 *
 * A number stays a reason's for good: one that is retired leaves a hole.
 */
#ifndef XDPLB_DECAP_REASONS_H
#define XDPLB_DECAP_REASONS_H

/* clang-format off */
enum decap_reason {
	DECAP_UNWRAPPED = 0, /* the packet inside went to the stack */
	DECAP_PASS_OTHER = 1, /* no tunnel, or not to an address given to `decap up` */
	DECAP_PASS_FRAGMENT = 2, /* a fragment of an outer packet: it is not whole */
	DECAP_PASS_MALFORMED = 3, /* truncated, lengths that contradict each other, or no IP inside: the stack decides */
	DECAP_DROP_ECN = 4, /* congestion marked on a packet whose sender does not know ECN (RFC 6040, 4.2) */
	DECAP_DROP_MARTIAN = 5, /* outer or inner source is the address of no host, or the inner packet is one that no router forwards: multicast, broadcast, loopback, link-local, neighbour discovery */
	DECAP_DROP_INTERNAL = 6, /* the frame could not be shortened */
	DECAP_DROP_BAD_CHECKSUM = 7, /* the checksum of the outer IPv4 header is wrong, or that of the UDP datagram with GUE */
	DECAP_DROP_SOURCE_ROUTE = 8, /* the outer IPv4 header has a source route */
	DECAP_REASONS = 16       /* above every number */
};
/* clang-format on */

#define DECAP_DROPS                                                                                          \
	(1 << DECAP_DROP_ECN | 1 << DECAP_DROP_MARTIAN | 1 << DECAP_DROP_INTERNAL |                          \
	 1 << DECAP_DROP_BAD_CHECKSUM | 1 << DECAP_DROP_SOURCE_ROUTE)

#endif
