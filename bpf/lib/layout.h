/* What the maps hold. Mirrored, field by field, in xdplb/dataplane/layout.py (a test compares the two).
 *
 * A change to anything in this file changes LAYOUT_VERSION: a daemon that finds maps of another version pinned
 * refuses to adopt them.
 *
 * MAX_VIPS, MAX_BACKENDS, MAX_FLOWS and VIP_GROUPS come in as -D flags: the program is compiled when it is loaded.
 */
#ifndef XDPLB_LAYOUT_H
#define XDPLB_LAYOUT_H

#define LAYOUT_VERSION 1

/* --- VIPs ------------------------------------------------------------------------------------------------------
 *
 * One set-associative table of our own instead of a BPF hash map: a lookup is one multiply and one cache line where
 * the kernel's hash is a call, jhash and a walk (5 against 25 ns), and the whole table is swapped at once. The control
 * plane picks the odd multiplier `seed` such that no group overflows.
 */
#define VIP_GROUP_SIZE 4

#define VIP_TRACK_ALWAYS 0x01 /* record every flow */
#define VIP_HASH_SOURCE 0x02  /* the slot depends on the client's address only */

struct vip_entry {
	__be32 address;
	__be16 port; /* 0 with protocol 0: no VIP, but says that `address` has VIPs */
	__u8 protocol; /* IPPROTO_TCP or IPPROTO_UDP; entries are filled from the front, an empty one has address 0 */
	__u8 flags;         /* VIP_* */
	__u16 id;           /* index into vip_tables and vip_stats */
	__u16 idle_seconds; /* a record that was silent for longer yields to a new SYN */
	__u32 unused;
};

struct vip_index {
	__u64 seed;
	struct vip_entry entries[VIP_GROUPS * VIP_GROUP_SIZE];
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
 * (0x45 0x00), TTL and protocol (64, IPPROTO_IPIP), source and destination. The program adds TOS, total length, id,
 * fragment offset and the source's hash bits.
 */
#define FORWARD_DR 1
#define FORWARD_IPIP 2

#define BACKEND_USABLE 0x01 /* may be sent to: its next hop is known and it is not down */

struct backend {
	__u8 destination_mac[6];
	__u16 epoch; /* ids are reused; a record made for an earlier holder of the id does not count */
	__u8 source_mac[6];
	__u8 forward;   /* FORWARD_* */
	__u8 flags;     /* BACKEND_* */
	__u32 ifindex;  /* leaves by this NIC: XDP_TX when it came in by it, else a redirect */
	__be32 address; /* ipip: outer destination */
	__be32 source;  /* ipip: outer source; where source_mask has bits, the flow's hash fills them */
	__be32 source_mask;
	__u32 checksum; /* ipip: see above */
	__u16 mtu;      /* of the NIC it leaves by, without Ethernet */
	__u16 vip;      /* id of the VIP it belongs to */
	__u32 unused[6];
};

/* --- flows -----------------------------------------------------------------------------------------------------*/
struct flow_key {
	__be32 source;
	__be32 destination;
	__be16 source_port;
	__be16 destination_port;
	__u32 protocol;
};

#define FLOW_ESTABLISHED 0x01 /* the client has sent more than SYNs */
#define FLOW_FIN 0x02         /* the client has sent a FIN: a new SYN is a new connection */
#define FLOW_RST 0x04         /* the client has sent a RST */

struct flow {
	__u16 backend;
	__u16 epoch;
	__u32 flags;     /* FLOW_* */
	__u64 last_seen; /* ns, CLOCK_MONOTONIC as bpf_ktime_get_coarse_ns gives it */
};

/* --- counters, all per CPU -------------------------------------------------------------------------------------*/
struct backend_counters {
	__u64 packets;
	__u64 bytes;     /* of frames as they came in, with Ethernet */
	__u64 new_flows; /* SYNs sent on; for UDP, records made */
	__u64 unused;
};

struct vip_counters {
	__u64 packets;
	__u64 bytes;
	__u64 new_flows;
	__u64 at_risk; /* packets in a moving or pinned slot that no record could place, see docs/connections.md */
};

/* --- meta --------------------------------------------------------------------------------------------------------
 *
 * One element, for the loader alone: what the pinned maps and the pinned program were made for. Pinned last, so that
 * maps without it are what a loader left that did not come to its end.
 */
struct meta {
	__u32 layout_version;
	__u32 vips;
	__u32 backends;
	__u32 flows;
	__u64 program_hash; /* of the source and its flags, see source.py */
};

#endif
