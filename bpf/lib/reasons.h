/* Why a packet was passed to the host's stack or dropped: one counter each.
 *
 * The one list that xdplb/dataplane/reasons.py reads at import; what is added here appears in status, metrics and
 * REST by itself, and docs/reference.md must explain it (a test says so). PASS_* is not ours, DROP_* is.
 */
#ifndef XDPLB_REASONS_H
#define XDPLB_REASONS_H

enum reason {
	PASS_NOT_IPV4,     /* ARP, IPv6, VLAN and whatever else is no IPv4 */
	PASS_NOT_TCP_UDP,  /* ICMP and other protocols */
	PASS_NO_VIP,       /* no VIP has this address, port and protocol */
	PASS_MALFORMED,    /* cut short or lengths that contradict each other: the stack decides */
	PASS_FRAGMENT,     /* a fragment for an address without VIPs */
	DROP_FRAGMENT,     /* a fragment for an address with VIPs: it does not carry ports */
	DROP_NO_BACKEND,   /* the slot has no owner: no backend is usable */
	DROP_BACKEND_DOWN, /* the backend chosen may not be sent to: its next hop is unknown or it failed */
	DROP_TOO_BIG,      /* does not fit the NIC's MTU once it is encapsulated */
	DROP_NO_HEADROOM,  /* the driver left no room in front of the frame for the outer header */
	DROP_INTERNAL,     /* a map lookup that cannot fail failed */
	REASONS
};

#endif
