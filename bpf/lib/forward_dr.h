/* DR, direct routing: the frame goes to the backend's MAC, the IP packet stays as it is. */
#ifndef XDPLB_FORWARD_DR_H
#define XDPLB_FORWARD_DR_H

#include "layout.h"
#include "memory.h"
#include "parse.h"

#define MAC_BITS 0x0000ffffffffffffULL

/* Writes both MACs, 12 bytes. Each comes out of one 8-byte load, so that neither is ever half an old one. */
static __always_inline void forward_write_macs(void *frame, const struct backend *backend)
{
	__u64 destination = load_u64(backend->destination_mac) & MAC_BITS;
	__u64 source = load_u64(backend->source_mac);

	store_u64(frame, destination | source << 48);
	store_u32(frame + 8, source >> 16);
}

static __always_inline enum reason forward_dr(struct xdp_md *ctx, const struct packet *packet,
                                              const struct backend *backend)
{
	void *frame = (void *)(long)ctx->data;

	if (packet->ip_length > backend->mtu)
		return DROP_TOO_BIG;
	if (frame + sizeof(struct ethhdr) > (void *)(long)ctx->data_end)
		return DROP_INTERNAL;
	forward_write_macs(frame, backend);
	return GO_ON;
}

#endif
