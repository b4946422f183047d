/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* What the maps hold. Mirrored, field by field, in xdplb/dataplane/layout.py (a test compares the two).
 *
 * A change to a struct goes with a new version of the maps that hold it, in xdplb/dataplane/versions.py; docs/contributing.md
 * says how, and what a running data plane takes over. Codes and flags keep their numbers permanently
 * (tests/unit/dataplane/test_numbers.py).
 *
 * MAX_VIPS, MAX_BACKENDS, MAX_FLOWS, NAT_BACKENDS, NAT_GROUPS, VIP_GROUPS and VIP_GROUPS6 come in as -D flags: the program is compiled when it is
 * loaded, and for what it has to do: what only some configurations need stands behind WITH_*
 * (xdplb/dataplane/features.py).
 */
#ifndef XDPLB_LAYOUT_H
#define XDPLB_LAYOUT_H

#include "tunnel_ends.h"

#define LAYOUT_VERSION 4 /* of struct meta, which has the versions of all other maps */

/* --- VIPs ------------------------------------------------------------------------------------------------------
 *
 * One set-associative table of our own instead of a BPF hash map: a lookup is one multiply and one cache line where
 * the kernel's hash is a call, jhash and a walk (5 against 25 ns), and the whole table is swapped at once. The control
 * plane picks the odd multiplier `seed` such that no group overflows.
 */
#define VIP_GROUP_SIZE 4

#define VIP_TRACK_ALWAYS 0x01  /* record every flow */
#define VIP_HASH_SOURCE 0x02   /* the slot depends on the client's address only */
#define VIP_ACCESS 0x04        /* its sources are looked up in the access lists */
#define VIP_LIMITED 0x08       /* rate limits hold for it */
#define VIP_ALIAS 0x10         /* for the control plane alone: it says sh, wrr or wlc, not maglev, rr or lc */
#define VIP_BOTH 0x20          /* for the control plane alone: its protocol is tcp+udp */
#define VIP_SECOND_CHOICE 0x40 /* a new TCP connection may go to another backend than its slot's */
#define VIP_SAMPLED 0x80       /* of its connections, those are sampled that `handshake_shares` says */

#define SCHEDULER_HASH 0     /* the flow's hash picks the slot */
#define SCHEDULER_ROTATION 1 /* rr, wrr: each new flow takes the next slot */
#define SCHEDULER_LEAST                                                                                      \
	2 /* lc, wlc: of the owners of the first `candidates` slots, the one with the least load */
#define SCHEDULER_TWO 3     /* p2c: of the owners of two slots, the one with the less load */
#define SCHEDULER_BITS 0x0f /* of its byte; the other bits are flags */
#define VIP_SCHEDULER(vip) ((vip)->scheduler & SCHEDULER_BITS)

/* What the slot depends on instead of the client's address and both ports, if it is not VIP_HASH_SOURCE: a bit each. */
#define HASH_SHIFT 4 /* in the scheduler's byte */
#define HASH_BY_FLAG 0
#define HASH_DESTINATION_PORT 1 /* the destination port alone */
#define HASH_ADDRESSES 2        /* both addresses, and no port */

#define MAX_CANDIDATES                                                                                       \
	128 /* as many as SCHEDULER_LEAST compares for a new flow: each costs some nanoseconds */

/* What a packet for a VIP is done with. */
struct vip {
	__u16 id;           /* index into vip_tables, vip_stats and vip_guards */
	__u16 idle_seconds; /* a record that was silent for longer yields to a new flow */
	__u8 flags;         /* VIP_* */
	__u8 scheduler;     /* SCHEDULER_*, HASH_* */
	__u8 quic; /* low half: bytes of the server ID in a connection ID, 0 for none; high half: the config ID */
	__u8 candidates; /* for SCHEDULER_LEAST */
};

/* What few VIPs have, as bits of struct vip's 8 bytes: flags that packets see, a scheduler that is not SCHEDULER_HASH, a hash
 * of something else, QUIC connection IDs.
 */
#define VIP_SPECIAL_FLAGS (VIP_TRACK_ALWAYS | VIP_HASH_SOURCE | VIP_ACCESS | VIP_LIMITED | VIP_SECOND_CHOICE)
#define VIP_SPECIAL (0x00ffff0000000000ULL | (__u64)VIP_SPECIAL_FLAGS << 32)

struct vip_entry {
	__be32 address;
	__be16 port; /* 0 with protocol 0: no VIP, but says that `address` has VIPs */
	__u8 protocol; /* IPPROTO_TCP or IPPROTO_UDP; entries are filled from the front, an empty one has address 0 */
	__u8 unused; /* 0: these 8 bytes are compared as one word */
	struct vip vip;
};

struct vip_index {
	__u64 seed;
	struct vip_entry entries[VIP_GROUPS * VIP_GROUP_SIZE];
};

/* The same for IPv6. A key is of three words: the address's halves as numbers (swapped to host order: what differs
 * between neighbours must lie low, to reach all upper bits of a product), and port and protocol as in vip_entry's upper
 * half. Each has an odd multiplier of its own; the group is the upper bits of the sum of the products.
 */
struct vip6_entry {
	__u64 address[2]; /* as they lie in the header */
	__be16 port;
	__u8 protocol;
	__u8 unused;
	__u32 unused_too;
	struct vip vip;
};

struct vip6_index {
	__u64 seeds[3];
	__u64 unused;
	struct vip6_entry entries[VIP_GROUPS6 * VIP_GROUP_SIZE];
};

/* VIPs of several ports or addresses: an LPM trie by address, asked where the index has no answer. A prefix's rules are
 * in the order in which they win, those of the shorter prefixes around it behind its own.
 */
#define VIP_RULES 32

#define RULE_TCP 0x01
#define RULE_UDP 0x02

struct vip_rule {
	__u16 first_port; /* host order; both included */
	__u16 last_port;
	__u8 protocols; /* RULE_* */
	__u8 unused[3];
	struct vip vip;
};

struct vip_rules {
	__u32 count;
	__u32 unused;
	struct vip_rule rules[VIP_RULES];
};

struct prefix4 {
	__u32 length;
	__be32 address;
};

struct prefix6 {
	__u32 length;
	__u8 address[16];
};

/* --- tunnels that end at the balancer ---------------------------------------------------------------------------
 *
 * The longest match says whether packets from a source to an end are taken: of each end there is one for all sources, which
 * are not, and one for each prefix that is allowed. One lookup tells all that matters.
 */
#define TUNNEL_KEY_BITS 256
#define TUNNEL_SOURCES 2048

struct tunnel_key {
	__u32 bits; /* those that count: 128 of the end, and as many of the source as its prefix has */
	struct tunnel_ends ends;
};

/* --- slots -----------------------------------------------------------------------------------------------------
 *
 * A slot is a u32: the owner's backend id in the low half, in the high half what became of the previous owner.
 */
#define TABLE_SIZE 65537
#define SLOT_OWNER(slot) ((slot)&0xffff)
#define SLOT_PREVIOUS(slot) ((slot) >> 16)
#define NO_BACKEND 0       /* as owner: nobody; as previous: the slot is steady */
#define SLOT_PINNED 0xffff /* as previous: records win over the owner, nothing new is recorded */

struct vip_table {
	__u32 slots[TABLE_SIZE];
	__u32 unused; /* map values are padded to 8 bytes anyway */
};

/* --- backends --------------------------------------------------------------------------------------------------
 *
 * A MAC and what goes with it share an aligned 8-byte word, so that a neighbour that changes its MAC is never seen
 * half old and half new. One cache line an entry.
 *
 * `checksum` is the sum of the 16-bit words of the outer IPv4 header that never change, as they lie in memory (RFC 1071:
 * byte order does not matter as long as it is one), neither folded nor inverted: version, header length and a TOS of 0
 * (0x45 0x00), TTL (64) and protocol (4 or 41 for IPIP, by what is inside; 17 for GUE), source and destination. The
 * program adds TOS, total length, id, fragment offset and the source's hash bits.
 *
 * For NAT, its low half is what is added to a request's destination port, modulo 2^16, and its high half the folded sum of
 * the words of the backend's address and of the inverted ones of the VIP's: what checksums change by in a request, and
 * inverted in a reply.
 */
#define NAT_SHIFT(checksum) ((checksum)&0xffff)
#define NAT_SUM(checksum) ((checksum) >> 16)

#define FORWARD_DR 1
#define FORWARD_IPIP 2  /* in IPv4: 4in4, 6in4 */
#define FORWARD_IPIP6 3 /* in IPv6: 4in6, 6in6 */
#define FORWARD_GUE 4   /* in IPv4 and UDP */
#define FORWARD_GUE6 5  /* in IPv6 and UDP */
#define FORWARD_NAT 6   /* destination address and port are the backend's */

#define BACKEND_USABLE 0x01 /* may be sent to: its next hop is known and it is not down */
#define BACKEND_VLAN                                                                                         \
	0x02 /* `vlan` has one tag, or with BACKEND_QINQ two; without both, frames leave untagged */
#define BACKEND_QINQ 0x04
#define BACKEND_VLAN_AD 0x08     /* the outer tag's type is 0x88a8, not 0x8100 */
#define BACKEND_VLAN_KEEP 0x10   /* the tags of the frame stay as they came in */
#define BACKEND_IPV6 0x20        /* for the control plane alone: its address is of IPv6, in `v6` for DR too */
#define BACKEND_INNER6 0x40      /* for the control plane alone: its VIP is of IPv6 */
#define BACKEND_NOTHING_NEW 0x80 /* keeps its connections and takes no new ones */

struct backend {
	__u8 destination_mac[6];
	__u16 epoch; /* ids are reused; a record made for an earlier holder of the id does not count */
	__u8 source_mac[6];
	__u8 forward;   /* FORWARD_* */
	__u8 flags;     /* BACKEND_* */
	__u32 ifindex;  /* leaves by this NIC: XDP_TX when it came in by it, else a redirect */
	__u16 mtu;      /* of the NIC it leaves by, without Ethernet and tags */
	__u16 vip;      /* id of the VIP it belongs to */
	__be16 vlan[2]; /* tag control information, the outer tag first */
	union {
		__u32 checksum; /* outer IPv4, and NAT: see above */
		__be32 source_mask; /* outer IPv6: where it has bits, the flow's hash fills the source's last word */
	};
	union {
		struct {
			__be32 address;     /* outer destination; for DR and NAT the backend's own */
			__be32 source;      /* for NAT the VIP's address */
			__be32 source_mask; /* where it has bits, the flow's hash fills them */
			__u32 unused[5];
		} v4;
		struct {
			__u64 address[2]; /* as they lie in the header */
			__u64 source[2];
		} v6;
	};
};

/* What a backend has to do, for schedulers that ask: records in the flow table, corrected by each scan of it. */
struct backend_load {
	__u64 flows;
	__u32 weight;
	__u16 usable; /* 1 if it has BACKEND_USABLE, else 0: who compares many reads them here alone */
	__u16 server_id_bytes; /* for the control plane alone: of its key in quic_servers, 0 for none */
};

/* Why a new connection may go to another backend than this one. `empty_at` is a bucket as those of limits below. */
struct backend_doubt {
	__u64 empty_at;
	__u32 flow_cost; /* ns that a new connection costs, 0 for no limit */
	__u32 rate;      /* for the control plane alone: what the cost was made from, per second */
	__u16 suspect;   /* 1: handshakes with it may not be answered */
	__u16 takes; /* 1 if it may be a second choice: usable, takes new connections and is not suspect; else 0 */
	__u32 unused;
};

/* A backend by the server ID in a QUIC connection ID; the value is the backend's id. */
struct quic_key {
	__u64 server_id; /* as it lies in the packet, filled up with 0 */
	__u32 vip;
	__u32 unused;
};

/* A NAT backend by what its replies come from; the value is the backend's id. */
struct nat_key {
	__u64 address[2]; /* as in struct packet */
	__be16 port;      /* 0: all ports */
	__u8 protocol;
	__u8 version; /* 4 or 6 */
	__u32 unused;
};

/* The same in a table of our own, in which a packet that is no reply finds so in one cache line. A place is a backend's id
 * and, from bit NAT_TAG_SHIFT on, a tag: port and protocol as in nat_key, and bits of a hash of these and the address. The
 * upper bits of the hash pick the group. A tag does not tell every address from every other, so what is found is compared
 * with the backend's. What has no place in its group is in the map of nat_keys alone, and the group's last place says so.
 */
#define NAT_WAYS 4
#define NAT_TAG_SHIFT 16
#define NAT_ID_BITS 0xffff
#define NAT_HASH_BITS 0xffffff000000ULL /* of a tag */
#define NAT_HASH_SHIFT 8                /* from the hash to these */
#define NAT_GROUP_SHIFT (64 - __builtin_ctz(NAT_GROUPS))
#define NAT_ELSEWHERE 1 /* as a place: see above; no tag is 0 */
#define NAT_SEED 0x9e3779b97f4a7c15ULL
#define NAT_SEED6 0xd1b54a32d192ed03ULL

struct nat_group {
	__u64 places[NAT_WAYS];
};

/* The way that replies go to nearly all clients, by IP version (0 for IPv4), so that few ask the kernel for theirs. `hop` is
 * as a backend's; it has no tags. Clients in a prefix of `others` are not on this way, or may not be: of IPv6, the first
 * half of an address is compared.
 */
#define CLIENT_OTHERS 8
#define CLIENT_FEW 4

struct client_prefix {
	__u64 network; /* as in struct packet; none where this has bits that the mask has not */
	__u64 mask;
};

struct client_way {
	struct backend hop; /* without BACKEND_USABLE there is no such way */
	__u64 has_more;     /* 0: none but the first CLIENT_FEW of `others` has addresses */
	struct client_prefix others[CLIENT_OTHERS];
};

/* A network to which the answers of a NAT backend go as they are, as key of an LPM trie; the value is the backend's id too. */
struct nat_direct_key {
	__u32 length;     /* of the prefix, and 32 more for the id */
	__u32 backend;    /* its id */
	__u64 address[2]; /* as in struct packet; one of IPv4 is followed by 0 */
};

/* --- flows -----------------------------------------------------------------------------------------------------
 *
 * A record that a SYN has made lies in `probation` (or probation6) until the connection sends another packet, then in
 * `flows` (or flows6), as any other from the first; never in both. What only sends SYNs thus evicts nothing but its like.
 */
struct flow_key {
	__be32 source;
	__be32 destination;
	__be16 source_port;
	__be16 destination_port;
	__u32 protocol;
};

struct flow6_key {
	__u64 source[2]; /* as they lie in the header */
	__u64 destination[2];
	__be16 source_port;
	__be16 destination_port;
	__u32 protocol;
};

#define FLOW_ESTABLISHED 0x01 /* the client has sent more than SYNs, and none since */
#define FLOW_FIN 0x02         /* the client has sent a FIN: a new SYN is a new connection */
#define FLOW_RST 0x04         /* the client has sent a RST */
#define FLOW_SECOND_CHOICE                                                                                   \
	0x08 /* it did not go to the backend that comes first: its record counts in steady slots too */
#define FLOW_FROM_PEER 0x10 /* another balancer has told of it, and none of its packets has come here */

struct flow {
	__u16 backend;
	__u16 epoch;
	__u16 flags; /* FLOW_* */
	__u16 vip;
	__u64 last_seen; /* ns, CLOCK_MONOTONIC as bpf_ktime_get_coarse_ns gives it */
};

/* Open flows lie in a table of our own first: a packet finds its record in one place of the memory, where the kernel's hash
 * looks at two, one after the other, and with many flows each is a miss in the caches and in the TLB. A line is picked by
 * a hash of the key and has room for FLOW_WAYS records; those that find their line full go to `flows` or flows6. A flow is
 * in one of the two.
 *
 * The words of a key are those of struct flow_key or flow6_key. `ports` is the last of them, with the VIP's idle timeout
 * in the bits from FLOW_KEY_BITS on; it is 0 where there is no record, and FLOW_BUSY while one is written.
 */
#define FLOW_WAYS 4
#define FLOW_LINES (MAX_FLOWS / FLOW_WAYS + 1)
#define FLOW_KEY_BITS 40
#define FLOW_BUSY (1ULL << 63)

struct flow_place {
	__u64 addresses;
	__u64 ports;
	struct flow flow;
};

struct flow6_place {
	__u64 addresses[4];
	__u64 ports;
	struct flow flow;
	__u64 unused;
};

struct flow_line {
	struct flow_place places[FLOW_WAYS];
};

struct flow6_line {
	struct flow6_place places[FLOW_WAYS];
};

/* Where the first fragment of a packet went; of both families, IPv4 addresses in the first word. */
#define FRAGMENT_SECONDS                                                                                     \
	30 /* how long the others are waited for: longer than Linux reassembles (ipfrag_time, 30 s) */

struct fragment_key {
	__u64 source[2];
	__u64 destination[2];
	__u32 id; /* as it lies in the header */
	__u32 protocol;
};

struct fragment {
	__u16 backend; /* NO_BACKEND: it was for no VIP, and the host has it */
	__u16 epoch;
	__u32 vip;
	__u64 last_seen; /* ns, as in struct flow */
	__u8 protocol;   /* of the transport */
	__u8 unused[7];
};

/* --- defence ---------------------------------------------------------------------------------------------------
 *
 * Rates are kept by the generic cell rate algorithm (ITU-T I.371): a bucket is the time at which it would be empty, a
 * packet moves it on by its cost, and none passes that would move it more than a second ahead of now.
 */
#define BUCKET_NS 1000000000ULL

/* By VIP id. Costs are ns per packet or new flow, 0 for no limit. */
struct vip_guard {
	__u64 source_packet_cost;
	__u64 source_flow_cost;
	__u64 packet_cost;
	__u64 flow_cost;
	__u32 access_list; /* its number in the masks below */
	__u32 rates[4];    /* for the control plane alone: what the costs were made from, per second */
	__u32 shares_all;  /* 1: all its records go to other balancers, also where slots tell the same */
	__u32 rejects;     /* 1: clients are told if there is no backend */
	__u32 unused;
};

struct bucket {
	__u64 packets;
	__u64 flows;
};

struct source_key {
	__u64 source[2]; /* the second half is 0: of IPv6, a source is a /64 */
	__u32 vip;
	__u32 unused;
};

/* Access lists of all VIPs in one: the address space cut into intervals, in each of which the same lists deny. Interval i
 * begins at starts[i] and ends before starts[i + 1]; masks[classes[i]] has a bit for each list that denies it. `root` has,
 * for each block of addresses, the interval that holds its first one: what is searched by halves lies between that and
 * the next one's. Everything in host order.
 *
 * IPv4's blocks are those of the upper 16 bits. IPv6's are cut to the lists, since all addresses in use have much the same
 * upper bits: block 0 is what is before `base`, then come blocks of `1 << shift` in the upper half, the last one without
 * an end.
 */
#define ACCESS6_BLOCKS 65536
#define ACCESS_LISTS 256
#define ACCESS_CLASSES 4096
#define ACCESS4_INTERVALS 524288
#define ACCESS6_INTERVALS 131072

struct access_mask {
	__u64 denied[ACCESS_LISTS / 64];
};

struct access4 {
	__u32 root[65537];
	__u32 unused;
	__u32 starts[ACCESS4_INTERVALS];
	__u16 classes[ACCESS4_INTERVALS];
	struct access_mask masks[ACCESS_CLASSES];
};

struct access6 {
	__u64 base;
	__u64 shift;
	__u32 root[1 + ACCESS6_BLOCKS + 1];
	struct {
		__u64 high;
		__u64 low;
	} starts[ACCESS6_INTERVALS];
	__u16 classes[ACCESS6_INTERVALS];
	struct access_mask masks[ACCESS_CLASSES];
};

/* --- other balancers -------------------------------------------------------------------------------------------
 *
 * What a program compiled WITH_SYNC hands out of a connection that the other balancers of a cluster must know, since its
 * slot alone does not tell where it is: when its record has left probation, when one was made for a connection that was
 * open already, and when the client has sent a FIN or RST.
 */
#define SHARED_FLOWS_BYTES (1 << 19) /* of the ring: of some 9000 that nobody has read yet */
#define SHARED_OPENED 0x20           /* with FLOW_*: seen from its SYN on */

struct shared_flow {
	__u64 source[2]; /* as in struct packet */
	__u64 destination[2];
	__be16 source_port;
	__be16 destination_port;
	__u16 vip;
	__u16 backend;
	__u16 epoch;
	__u8 flags; /* FLOW_*, SHARED_* */
	__u8 protocol;
	__u8 version; /* 4 or 6 */
	__u8 unused[3];
};

/* --- handshakes ------------------------------------------------------------------------------------------------
 *
 * Of a sample of connections, as far as the client's packets tell: the SYN, SYNs that are sent again because nobody has
 * answered, and the first packet that is neither SYN nor RST, which answers the SYN-ACK. A place is picked by a hash of the
 * flow. One whose SYN was answered, or has waited for HANDSHAKE_WAIT_NS, is taken by the next flow that meets it there;
 * until then others are not sampled. So the sample takes no more memory whatever is sent.
 */
#define HANDSHAKES 16384
#define HANDSHAKE_BITS 14
#define HANDSHAKE_BUSY 1 /* as hash: the place is being written */
#define HANDSHAKE_WAIT_NS 4000000000ULL

#define HANDSHAKE_ANSWERED 0x01 /* the client has sent more than SYNs */
#define HANDSHAKE_FIN 0x02      /* the client has sent a FIN */
#define HANDSHAKE_RESET 0x04    /* the client has sent a RST */

struct handshake {
	__u64 hash; /* of the flow, 0 for none */
	__u64 flow; /* ports, and in the upper half the last 4 bytes of the destination, as they lie in the headers */
	__u64 source;  /* the address, of IPv6 its first half, as it lies in the header */
	__u64 syn_at;  /* ns, CLOCK_MONOTONIC: the first SYN */
	__u64 last_at; /* the last packet of the client */
	__u16 vip;
	__u16 backend;
	__u16 epoch;
	__u8 flags;    /* HANDSHAKE_* */
	__u8 repeated; /* how many SYNs came after the first */
};

/* By backend id, not per CPU: few packets count here, and per CPU it would be megabytes for each. Latency is from the first
 * SYN to the first packet that answers the SYN-ACK; bucket 0 has what took less than 2^HANDSHAKE_FIRST_BIT ns, each one
 * after it up to twice as long as the one before, the last one all the rest.
 */
#define HANDSHAKE_BUCKETS 20
#define HANDSHAKE_FIRST_BIT 16

struct handshake_counters {
	__u64 begun;
	__u64 repeated;
	__u64 answered;
	__u64 refused; /* by a RST of the client before it has answered */
	__u64 reset;   /* by a RST of the client later */
	__u64 latency_ns;
	__u64 latency[HANDSHAKE_BUCKETS];
};

/* --- counters, all per CPU -------------------------------------------------------------------------------------*/
struct backend_counters {
	__u64 packets;
	__u64 bytes;     /* of frames as they came in, with Ethernet */
	__u64 new_flows; /* SYNs sent on; for UDP, records made */
	__u64 replies;   /* packets of a NAT backend that were sent on to clients */
};

/* Of a backend that came first: new connections that went to another one, and why. */
struct second_counters {
	__u64 failovers; /* it was suspect, or not usable */
	__u64 over;      /* it had as many as it may get in a second */
};

struct vip_counters {
	__u64 packets;
	__u64 bytes;
	__u64 new_flows;
	__u64 at_risk; /* packets of old connections that no record could place, see docs/connections.md */
	__u64 records; /* added to flows and flows6; what is not there any more and was not deleted was evicted */
	__u64 replies; /* packets of NAT backends that were sent on to clients */
};

/* Frames that came in by a NIC, by what becomes of them: an element for each XDP action, and room for more. */
#define NIC_PLACES 1024
#define NIC_ACTIONS 8

struct nic_counters {
	__u64 packets[NIC_ACTIONS];
};

/* --- looking at packets ---------------------------------------------------------------------------------------
 *
 * A program compiled WITH_EXPLAIN decides as the other does, changes no map and leaves what it decided here.
 */
#define DECISION_VIP 0x01    /* `vip` is set */
#define DECISION_SLOT 0x02   /* `slot_number` and `slot` are set */
#define DECISION_RECORD 0x04 /* the flow has a record that counts */
#define DECISION_NEW 0x08    /* the packet would count as a new flow */
#define DECISION_AT_RISK 0x10

#define CHOSEN_NOBODY 0
#define CHOSEN_OWNER 1     /* of the slot */
#define CHOSEN_PREVIOUS 2  /* owner of the slot, for an old connection */
#define CHOSEN_RECORD 3    /* by the flow's record */
#define CHOSEN_SCHEDULER 4 /* by a scheduler that chooses per connection */
#define CHOSEN_QUIC 5      /* by the server ID in the connection ID */
#define CHOSEN_FRAGMENT 6  /* as the first fragment */
#define CHOSEN_SECOND 7    /* another one than the backend that comes first */
#define CHOSEN_REPLY 8     /* the packet is a reply of this backend */

struct decision {
	__u64 hash; /* of the flow, 0 where it was not computed */
	__u32 slot_number;
	__u32 slot;
	__u16 reason; /* enum reason; REASONS where the packet is sent on */
	__u16 vip;
	__u16 backend;    /* 0 for none */
	__u8 chosen;      /* CHOSEN_* */
	__u8 flags;       /* DECISION_* */
	__u64 capture_id; /* of a packet that a capture hands out, else 0 */
};

/* Which packets a program compiled WITH_CAPTURE hands out: by their addresses, whatever becomes of them. */
struct capture_filter {
	__u64 source[2]; /* packets whose source, where the mask has bits, is this */
	__u64 source_mask[2];
	__u64 destination[2];
	__u64 destination_mask[2];
	__u32 snap_bytes; /* of a frame at most */
	__u32 one_in;     /* this many, by chance */
	__u8 version;     /* 4, 6 or 0 for both */
	__u8 unused[7];
};

/* What it hands out of each, with the frame's bytes behind: when it came in, and when all was decided. */
#define CAPTURE_IN 0
#define CAPTURE_OUT 1 /* the frame as it leaves, none of it where it does not */

struct capture_event {
	__u64 time;         /* ns, CLOCK_MONOTONIC */
	__u64 id;           /* the same of one packet's two */
	__u32 ifindex;      /* it came in by, or leaves by; 0 where it does not leave */
	__u32 frame_bytes;  /* of the whole frame */
	__be16 source_port; /* this and what follows only with CAPTURE_OUT */
	__be16 destination_port;
	__u32 slot_number;
	__u32 slot;
	__u16 reason; /* the rest as in struct decision */
	__u16 vip;
	__u16 backend;
	__u8 verdict; /* XDP_* */
	__u8 chosen;
	__u8 flags;
	__u8 direction; /* CAPTURE_* */
	__u8 unused[2];
};

/* --- meta --------------------------------------------------------------------------------------------------------
 *
 * One element, for the loader alone: what the pinned maps and the pinned program were made for. Pinned last, so that
 * maps without it are what a loader left that did not come to its end.
 */
#define META_READY 1 /* of maps that are to take the place of others: filled, and packets may be using them */
#define META_CARRIED 2 /* they have all that the others had: only the pins are to be moved */
#define LAYOUTS_ROOM 16256

struct meta {
	__u32 layout_version;
	__u32 vips;
	__u32 backends;
	__u32 flows;
	__u64 program_hash; /* of the source and its flags, see source.py */
	__u64 explain_hash; /* the same of the program that explains */
	__u64 features;     /* of the program and its maps: a bit each, see features.py */
	__u32 state;        /* META_* */
	__u32 layouts_bytes;
	__u64 refused_text; /* the hash of the source of a program that was rolled back, 0 if none was */
	__u64 unused[9];
	__u8 layouts[LAYOUTS_ROOM]; /* of all maps, as JSON, see map_layout.py */
};

#endif
