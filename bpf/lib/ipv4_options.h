/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* The options of an IPv4 header (RFC 791, 3.1), as far as they matter: those that say which way a packet shall go. */
#ifndef XDPLB_IPV4_OPTIONS_H
#define XDPLB_IPV4_OPTIONS_H

#include "packet.h"

#define IPV4_LONGEST 60
#define OPTION_END 0
#define OPTION_NONE 1 /* this and the end have no length byte */
#define OPTION_LOOSE_ROUTE 131
#define OPTION_STRICT_ROUTE 137

/* Whether a header of `length` bytes, all of them inside the frame, has a source route. `zero` is 0, which the verifier
 * does not know: see packet_blur.
 */
static __always_inline int options_have_route(const __u8 *header, const void *end, __u32 length, __u64 zero)
{
	__u64 next = IPV4_HEADER; /* where the next option begins */

	for (int at = IPV4_HEADER; at < IPV4_LONGEST; at++) {
		const __u8 *option = header + at;

		asm volatile("" : "+r"(option)); /* one pointer: what is compared is what is read from */
		if (at >= length || (void *)(option + 1) > end)
			return 0;
		if (at != next)
			continue;
		if (*option == OPTION_LOOSE_ROUTE || *option == OPTION_STRICT_ROUTE)
			return 1;
		if (*option == OPTION_END)
			return 0;
		if (*option == OPTION_NONE) {
			next = at + 1;
		} else {
			if (at + 1 >= length || (void *)(option + 2) > end || option[1] < 2)
				return 0;
			next = at + option[1];
		}
		next ^= zero;
		asm volatile("" : "+r"(next));
	}
	return 0;
}

#endif
