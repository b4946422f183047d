/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* QUIC by connection ID: a backend that puts its server ID into its connection IDs keeps its connections when clients
 * change their addresses. The plaintext form of draft-ietf-quic-load-balancers: the upper 3 bits of the first byte are
 * the config ID, the server ID follows.
 */
#ifndef XDPLB_QUIC_H
#define XDPLB_QUIC_H

#include "maps.h"
#include "packet.h"

#ifdef WITH_QUIC

#define QUIC_LONG 0x80   /* in the first byte: a long header (RFC 8999) */
#define QUIC_LENGTH_AT 5 /* behind the version */
#define QUIC_SHORT_ID_AT 1
#define QUIC_LONG_ID_AT 6
#define QUIC_ID_READ                                                                                         \
	9 /* the first byte and the longest server ID; every QUIC packet has more than that behind the ID */
#define QUIC_SHORT_NEEDS (QUIC_SHORT_ID_AT + QUIC_ID_READ)
#define QUIC_LONG_NEEDS (QUIC_LONG_ID_AT + QUIC_ID_READ)

#define QUIC_SERVER_BYTES(quic) ((quic)&0xf)
#define QUIC_CONFIG(quic) ((quic) >> 4)

/* More than Ethernet with two tags and IPv6 with all extension headers have: bounds for the verifier. */
#define QUIC_MAX_ETHERNET 0x3f
#define QUIC_MAX_TRANSPORT 0x3fff

/* Returns the offset of the transport header from the IP header. The verifier tracks what is added to a pointer back to
 * where it came from, and follows each way in which the headers before it can be. It knows nothing about the result of
 * a helper: the checksum of one number is that number.
 */
static __always_inline __u32 quic_transport(const struct packet *packet)
{
	__u32 transport = packet->transport;

	return bpf_csum_diff(NULL, 0, &transport, sizeof(transport), 0) & QUIC_MAX_TRANSPORT;
}

/* Returns where the destination connection ID begins, with at least QUIC_ID_READ bytes of the packet from there on;
 * NULL if it is shorter than `bytes`, or this is not QUIC.
 */
static __always_inline const __u8 *quic_find_id(struct xdp_md *ctx, const struct packet *packet, __u32 bytes)
{
	const void *end = (void *)(long)ctx->data_end;
	const __u8 *payload = (void *)(long)ctx->data + (packet->ethernet & QUIC_MAX_ETHERNET) +
	                      quic_transport(packet) + UDP_HEADER;
	__u32 length = packet->ip_length - packet->transport - UDP_HEADER;

	if (length < QUIC_SHORT_NEEDS || (void *)payload + QUIC_SHORT_NEEDS > end)
		return NULL;
	if (!(payload[0] & QUIC_LONG))
		return payload + QUIC_SHORT_ID_AT;
	if (length < QUIC_LONG_NEEDS || (void *)payload + QUIC_LONG_NEEDS > end ||
	    payload[QUIC_LENGTH_AT] < bytes)
		return NULL;
	return payload + QUIC_LONG_ID_AT;
}

/* Returns the backend that the connection ID names, NO_BACKEND if it names none. */
static __always_inline __u32 quic_find_backend(struct xdp_md *ctx, const struct packet *packet,
                                               const struct vip *vip)
{
	__u32 server_bytes = QUIC_SERVER_BYTES(vip->quic);
	const __u8 *id = quic_find_id(ctx, packet, 1 + server_bytes);
	struct quic_key key = {.vip = vip->id};
	__u32 *backend_id;

	if (!id || id[0] >> 5 != QUIC_CONFIG(vip->quic))
		return NO_BACKEND;
	key.server_id = read_u64(id + 1) & ~0ULL >> (64 - 8 * server_bytes);
	backend_id = quic_servers.lookup(&key);
	return backend_id ? *backend_id : NO_BACKEND;
}

#endif
#endif
