/* What became of a frame on a backend: a counter for each in decap_stats, in this order. DECAP_DROP_* are dropped. */
#ifndef XDPLB_DECAP_REASONS_H
#define XDPLB_DECAP_REASONS_H

enum decap_reason {
	DECAP_UNWRAPPED,     /* the packet inside went to the stack */
	DECAP_PASS_OTHER,    /* not a tunnel, or not to an address given to `decap up` */
	DECAP_PASS_FRAGMENT, /* a fragment of an outer packet */
	DECAP_PASS_MALFORMED, /* cut short, lengths that contradict each other, or no IP inside: the stack decides */
	DECAP_DROP_ECN,     /* congestion marked on a packet whose sender does not know ECN (RFC 6040, 4.2) */
	DECAP_DROP_MARTIAN, /* no router forwards the inner packet: multicast, broadcast, loopback, link-local */
	DECAP_DROP_INTERNAL, /* the frame could not be shortened */
	DECAP_REASONS
};

#endif
