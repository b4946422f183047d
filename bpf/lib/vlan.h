/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* 802.1Q tags: up to two of them in front of IP, and those that a frame is sent with. */
#ifndef XDPLB_VLAN_H
#define XDPLB_VLAN_H

#include "layout.h"
#include "packet.h"

#define VLAN_TAG 4              /* bytes: type, and the tag control information */
#define VLAN_TAGS_AT 12         /* behind both MACs */
#define VLAN_ETHERNET_BITS 0x1f /* the Ethernet header and two tags are 22 bytes */
#define VLAN_IDS                                                                                             \
	0xff0fffffff0fffffULL /* types and VLANs of two tags, in network order; the rest is priority */
#define VLAN_HEADER_MOST (ETH_HLEN + 2 * VLAN_TAG)

/* The tags of a frame, in network order. */
struct vlan {
	__u64 tags;
	__u32 length; /* in bytes: 0, 4 or 8 */
};

static __always_inline int vlan_is_tag(__be16 type)
{
	return type == NET16(ETH_P_8021Q) || type == NET16(ETH_P_8021AD);
}

/* The cursor is behind the type of the first tag. Returns the type behind the tags, 0 if the frame ends or has a third
 * tag.
 */
static __always_inline __be16 vlan_parse(struct cursor *cursor)
{
	__be16 type;

	if (cursor->at + VLAN_TAG > cursor->end)
		return 0;
	type = *(__be16 *)(cursor->at + 2);
	cursor->at += VLAN_TAG;
	if (!vlan_is_tag(type))
		return type;
	if (cursor->at + VLAN_TAG > cursor->end)
		return 0;
	type = *(__be16 *)(cursor->at + 2);
	cursor->at += VLAN_TAG;
	return vlan_is_tag(type) ? 0 : type;
}

/* Whether a frame comes in or is sent with tags. */
static __always_inline int vlan_is_at_work(const struct packet *packet, const struct backend *backend)
{
	return packet->ethernet != ETH_HLEN || backend->flags & BACKEND_VLAN;
}

/* Returns the tags that a frame is sent with; `frame` has at least 20 bytes. */
static __always_inline struct vlan vlan_of(const void *frame, const struct packet *packet,
                                           const struct backend *backend)
{
	__u64 type = backend->flags & BACKEND_VLAN_AD ? NET16(ETH_P_8021AD) : NET16(ETH_P_8021Q);
	struct vlan vlan = {0, 0};

	if (backend->flags & BACKEND_VLAN_KEEP) {
		vlan.tags = read_u64(frame + VLAN_TAGS_AT);
		vlan.length = (packet->ethernet - ETH_HLEN) & (3 * VLAN_TAG); /* for the verifier */
	} else if (backend->flags & BACKEND_QINQ) {
		vlan.tags = type | (__u64)backend->vlan[0] << 16 | (__u64)NET16(ETH_P_8021Q) << 32 |
		            (__u64)backend->vlan[1] << 48;
		vlan.length = 2 * VLAN_TAG;
	} else if (backend->flags & BACKEND_VLAN) {
		vlan.tags = type | (__u64)backend->vlan[0] << 16;
		vlan.length = VLAN_TAG;
	}
	return vlan;
}

/* Whether the frame is sent into another VLAN than it came from, whatever the priorities. */
static __always_inline int vlan_is_changed(struct xdp_md *ctx, const struct packet *packet,
                                           const struct backend *backend)
{
	const void *frame = (void *)(long)ctx->data;
	struct vlan vlan;
	__u64 changed;

	if (frame + VLAN_HEADER_MOST > (void *)(long)ctx->data_end)
		return 1;
	vlan = vlan_of(frame, packet, backend);
	changed = (read_u64(frame + VLAN_TAGS_AT) ^ vlan.tags) & VLAN_IDS;
	if (vlan.length < 2 * VLAN_TAG)
		changed = vlan.length ? (__u32)changed : 0;
	return changed || vlan.length != packet->ethernet - ETH_HLEN;
}

/* Writes the tags behind the MACs, and the type of what follows; `frame` has room for two tags. */
static __always_inline void vlan_write(void *frame, struct vlan vlan, __be16 type)
{
	if (vlan.length == VLAN_TAG) {
		write_u32(frame + VLAN_TAGS_AT, vlan.tags);
		write_u16(frame + VLAN_TAGS_AT + VLAN_TAG, type);
	} else if (vlan.length) {
		write_u64(frame + VLAN_TAGS_AT, vlan.tags);
		write_u16(frame + VLAN_TAGS_AT + 2 * VLAN_TAG, type);
	} else {
		write_u16(frame + VLAN_TAGS_AT, type);
	}
}

#endif
