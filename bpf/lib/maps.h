/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* The maps, and why each is of its kind. Their names are their pins' names under PIN_DIR.
 *
 * The loader creates and pins them before it compiles; bcc then uses what it finds pinned. No macro and no function
 * pointer stands between a program and its map: bcc rewrites `map.lookup()` only where it is written plainly, and a
 * call that could reach two maps would lose the kernel's inlining.
 */
#ifndef XDPLB_MAPS_H
#define XDPLB_MAPS_H

#include "layout.h"
#include "reasons.h"

/* Maps of maps are declared without what they hold: the pinned ones know it, and a bcc that is shown a table of these
 * sizes takes 15 seconds to compile instead of one.
 */

/* All VIPs of one address and port in one element of one inner map: the control plane swaps the whole index by one
 * update here.
 */
BPF_TABLE_PINNED("array_of_maps", __u32, __u32, vip_index, 1, PIN_DIR "/vip_index");
#ifdef WITH_IPV6
BPF_TABLE_PINNED("array_of_maps", __u32, __u32, vip_index6, 1, PIN_DIR "/vip_index6");
#endif

/* All other VIPs: an LPM trie (key struct prefix4 or prefix6, value struct vip_rules), swapped whole like the index. */
#ifdef WITH_WILDCARD
BPF_TABLE_PINNED("array_of_maps", __u32, __u32, vip_prefixes, 1, PIN_DIR "/vip_prefixes");
#ifdef WITH_IPV6
BPF_TABLE_PINNED("array_of_maps", __u32, __u32, vip_prefixes6, 1, PIN_DIR "/vip_prefixes6");
#endif
#endif

/* A table per VIP id. The control plane maps it and changes slots in place, each by one store of 32 bits: a packet finds
 * the old slot or the new one, and either is right whatever the other slots are. The inner array has one element, not
 * TABLE_SIZE: the key is then a constant, which the kernel turns into an address, and a slot is one load away from it.
 */
BPF_TABLE_PINNED("array_of_maps", __u32, __u32, vip_tables, MAX_VIPS, PIN_DIR "/vip_tables");

/* By backend id. An array, since the kernel inlines its lookup (4 ns against 25 of a hash map). */
BPF_TABLE_PINNED("array", __u32, struct backend, backends, MAX_BACKENDS, PIN_DIR "/backends");
#ifdef WITH_SCHEDULERS
BPF_TABLE_PINNED("array", __u32, struct backend_load, backend_loads, MAX_BACKENDS, PIN_DIR "/backend_loads");
#endif
#ifdef WITH_SECOND_CHOICE
/* What is said against each backend, and how many new connections it did not get. */
BPF_TABLE_PINNED("array", __u32, struct backend_doubt, backend_doubts, MAX_BACKENDS,
                 PIN_DIR "/backend_doubts");
BPF_TABLE_PINNED("percpu_array", __u32, struct second_counters, second_stats, MAX_BACKENDS,
                 PIN_DIR "/second_stats");

/* By VIP id: when a connection that is not with its slot's owner was last seen, ns, 0 for never. */
BPF_TABLE_PINNED("array", __u32, __u64, vip_strays, MAX_VIPS, PIN_DIR "/vip_strays");
#endif
#ifdef WITH_QUIC
BPF_TABLE_PINNED("hash", struct quic_key, __u32, quic_servers, MAX_BACKENDS, PIN_DIR "/quic_servers");
#endif

/* Backends whose replies are rewritten, by what these come from: configuration, so that a reply needs no record. */
#ifdef WITH_NAT
BPF_TABLE_PINNED("hash", struct nat_key, __u32, nat_backends, NAT_BACKENDS, PIN_DIR "/nat_backends");

/* Where they are looked for first, since every packet that is for no VIP is: groups, which the control plane maps, and in
 * which it changes one place by one store. Until it has filled them, each says that all are in nat_backends. They are not one
 * element, as an index of VIPs is: bcc takes a minute to compile a table whose value it is shown to be that large.
 */
BPF_TABLE_PINNED("array", __u32, struct nat_group, nat_index, NAT_GROUPS, PIN_DIR "/nat_index");

/* Where their replies go. */
BPF_TABLE_PINNED("array", __u32, struct client_way, client_ways, 2, PIN_DIR "/client_ways");
#ifdef WITH_NAT_DIRECT
/* Whom they answer as they are: administrators, who have asked a backend itself. */
BPF_TABLE_PINNED("lpm_trie", struct nat_direct_key, __u32, nat_direct, NAT_BACKENDS, PIN_DIR "/nat_direct");
#endif
#endif

/* Whose tunnels end at the balancer, and how many packets came out of them. */
#ifdef WITH_DECAP
BPF_TABLE_PINNED("lpm_trie", struct tunnel_key, __u32, tunnel_sources, TUNNEL_SOURCES,
                 PIN_DIR "/tunnel_sources");
BPF_TABLE_PINNED("percpu_array", __u32, __u64, unwrapped_packets, 1, PIN_DIR "/unwrapped_packets");
#endif

/* Open flows of moving and pinned slots, and of VIPs that track always; the steady path does not touch them. */
BPF_TABLE_PINNED("array", __u32, struct flow_line, flow_lines, FLOW_LINES, PIN_DIR "/flow_lines");
#ifdef WITH_IPV6
BPF_TABLE_PINNED("array", __u32, struct flow6_line, flow_lines6, FLOW_LINES, PIN_DIR "/flow_lines6");
#endif

/* Those that have no place there. Least recently used go first when it is full, so that it never refuses a new one. */
BPF_TABLE_PINNED("lru_hash", struct flow_key, struct flow, flows, MAX_FLOWS, PIN_DIR "/flows");
#ifdef WITH_IPV6
BPF_TABLE_PINNED("lru_hash", struct flow6_key, struct flow, flows6, MAX_FLOWS, PIN_DIR "/flows6");
#endif

/* Where the record that a SYN has made lies until the connection sends more: a flood of SYNs fills this table alone and
 * evicts no open connection. Tables of their own, since the kernel's LRU keeps what was looked up only as long as that
 * is less than half of the table.
 */
BPF_TABLE_PINNED("lru_hash", struct flow_key, struct flow, probation, MAX_FLOWS / 4, PIN_DIR "/probation");
#ifdef WITH_IPV6
BPF_TABLE_PINNED("lru_hash", struct flow6_key, struct flow, probation6, MAX_FLOWS / 4, PIN_DIR "/probation6");
#endif

/* Fragmented packets under way, of both families. */
BPF_TABLE_PINNED("lru_hash", struct fragment_key, struct fragment, fragments, 16384, PIN_DIR "/fragments");

/* What a VIP lets in. Access lists of all VIPs are one element of one inner map, swapped whole. */
#if defined(WITH_ACCESS) || defined(WITH_LIMITS) || defined(WITH_SYNC) || defined(WITH_REJECT)
BPF_TABLE_PINNED("array", __u32, struct vip_guard, vip_guards, MAX_VIPS, PIN_DIR "/vip_guards");
#endif
#ifdef WITH_ACCESS
BPF_TABLE_PINNED("array_of_maps", __u32, __u32, access4, 1, PIN_DIR "/access4");
#ifdef WITH_IPV6
BPF_TABLE_PINNED("array_of_maps", __u32, __u32, access6, 1, PIN_DIR "/access6");
#endif
#endif
#ifdef WITH_LIMITS
BPF_TABLE_PINNED("array", __u32, struct bucket, vip_buckets, MAX_VIPS, PIN_DIR "/vip_buckets");
BPF_TABLE_PINNED("lru_hash", struct source_key, struct bucket, source_buckets, 262144,
                 PIN_DIR "/source_buckets");
#endif

/* Connections that are sampled: of each VIP those whose hash's lower half is below its share, by VIP id. An array is where
 * the control plane can read all of them without a system call for each, and what a flood cannot make larger.
 */
#ifdef WITH_PASSIVE
BPF_TABLE_PINNED("array", __u32, __u32, handshake_shares, MAX_VIPS, PIN_DIR "/handshake_shares");
BPF_TABLE_PINNED("array", __u32, struct handshake, handshakes, HANDSHAKES, PIN_DIR "/handshakes");
BPF_TABLE_PINNED("array", __u32, struct handshake_counters, handshake_stats, MAX_BACKENDS,
                 PIN_DIR "/handshake_stats");
#endif

/* Connections that other balancers must know, in the order in which they came about, and how many did not fit. What bcc's
 * BPF_RINGBUF_OUTPUT makes, but pinned.
 */
#ifdef WITH_SYNC
struct shared_flows_table {
	int key;
	__u32 leaf;
	int (*ringbuf_output)(void *, __u64, __u64);
	void *(*ringbuf_reserve)(__u64);
	void (*ringbuf_discard)(void *, __u64);
	void (*ringbuf_submit)(void *, __u64);
	__u64 (*ringbuf_query)(__u64);
	__u32 max_entries;
};
__attribute__((section("maps/ringbuf:" PIN_DIR "/shared_flows"))) struct shared_flows_table shared_flows = {
	.max_entries = SHARED_FLOWS_BYTES,
};
BPF_TABLE_PINNED("percpu_array", __u32, __u64, shared_losses, 1, PIN_DIR "/shared_losses");
#endif

/* How soon the next answer but to a ping may be made: a rate limit for each CPU. */
BPF_TABLE_PINNED("percpu_array", __u32, __u64, answer_budget, 1, PIN_DIR "/answer_budget");

/* Counters are per CPU: no lock, no cache line that moves between CPUs. */
BPF_TABLE_PINNED("percpu_array", __u32, struct backend_counters, backend_stats, MAX_BACKENDS,
                 PIN_DIR "/backend_stats");
BPF_TABLE_PINNED("percpu_array", __u32, struct vip_counters, vip_stats, MAX_VIPS, PIN_DIR "/vip_stats");
BPF_TABLE_PINNED("percpu_array", __u32, __u64, reason_stats, REASONS, PIN_DIR "/reason_stats");

#ifdef WITH_NICS
/* By the lowest bits of the ifindex: an array of all ifindexes would have no end, and a hash map costs five times as much.
 * NICs of a host that are attached seldom share a place, and the control plane knows which do.
 */
BPF_TABLE_PINNED("percpu_array", __u32, struct nic_counters, nic_stats, NIC_PLACES, PIN_DIR "/nic_stats");
#endif

/* The NICs a frame may be redirected to, by ifindex. bcc has no word for a devmap_hash, which takes any ifindex: the one
 * that the loader has pinned is what is used.
 */
BPF_XDP_REDIRECT_MAP("devmap:" PIN_DIR "/tx_ports", __u32, tx_ports, 64);

#ifdef WITH_EXPLAIN
/* What was decided on the one packet that a program which explains has just seen. */
BPF_TABLE_PINNED("array", __u32, struct decision, explain_decision, 1, PIN_DIR "/explain_decision");
#endif

#ifdef WITH_CAPTURE
/* Of the packet that this CPU is at. */
BPF_TABLE_PINNED("percpu_array", __u32, struct decision, capture_decision, 1, PIN_DIR "/capture_decision");
BPF_TABLE_PINNED("array", __u32, struct capture_filter, capture_filter, 1, PIN_DIR "/capture_filter");

/* A ring for each CPU, which one process reads. What bcc's BPF_PERF_OUTPUT makes, but pinned. */
struct capture_events_table {
	int key;
	__u32 leaf;
	int (*perf_submit)(void *, void *, __u32);
	int (*perf_submit_skb)(void *, __u32, void *, __u32);
	__u32 max_entries;
};
__attribute__((section("maps/perf_output:" PIN_DIR
                       "/capture_events"))) struct capture_events_table capture_events = {};
#endif

#endif
