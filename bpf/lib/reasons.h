/* Why a packet was passed to the host's stack, dropped or answered: one counter each.
 *
 * The one list that xdplb/dataplane/reasons.py reads at import; what is added here appears in status, metrics and
 * REST by itself, and docs/reference.md must explain it (a test says so). PASS_* is not ours, DROP_* is, ANSWER_* went
 * back where it came from.
 */
#ifndef XDPLB_REASONS_H
#define XDPLB_REASONS_H

enum reason {
	PASS_NOT_IP, /* ARP and whatever else is no IP; IPv6 and VLAN where nothing needs them */
	PASS_NOT_UNICAST, /* IP in a frame to a broadcast or multicast MAC: each of its receivers would send it on */
	PASS_NOT_TCP_UDP, /* other protocols, and ICMP that is not about one of our connections */
	PASS_NO_VIP,      /* no VIP has this address, port and protocol */
	PASS_MALFORMED,   /* cut short or lengths that contradict each other, for no VIP: the stack decides */
	PASS_FRAGMENT, /* a later fragment for an address without VIPs, or whose first one was for no VIP */
	DROP_FRAGMENT, /* a later fragment for an address with VIPs, whose first one was not seen before it */
	DROP_NO_BACKEND,   /* the slot has no owner: no backend is usable */
	DROP_BACKEND_DOWN, /* the backend chosen may not be sent to: its next hop is unknown or it failed */
	DROP_TOO_BIG, /* does not fit on its way, and the sender is not told: for the rate limit, or it is no packet to answer */
	DROP_NO_HEADROOM,  /* the driver left no room in front of the frame for the outer header */
	DROP_DENIED,       /* the VIP's access list denies the source */
	DROP_SOURCE_RATE,  /* the source is over the VIP's limit for one source */
	DROP_VIP_RATE,     /* the VIP is over its own limit */
	DROP_BAD_LENGTH,   /* for a VIP, and its lengths contradict each other or the frame's */
	DROP_BAD_CHECKSUM, /* for a VIP, and the IPv4 header's checksum is wrong */
	DROP_TTL,          /* for a VIP, and its TTL or hop limit is 0 or 1: it may not be forwarded */
	DROP_LAND,         /* for a VIP, and from it */
	DROP_TCP_FLAGS, /* for a VIP, with flags that no TCP sends together: SYN with FIN or RST, or none at all */
	DROP_EXTENSION, /* for an address with VIPs, behind more IPv6 extension headers than are walked */
	DROP_INTERNAL,  /* a map lookup that cannot fail failed */
	ANSWER_ECHO,    /* an echo request to a VIP's address */
	ANSWER_TOO_BIG, /* did not fit on its way; the sender was told by ICMP */
	REASONS
};

#endif
