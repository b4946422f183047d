/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* A comparison without a branch, where the CPU could not predict one and the verifier would follow both sides. */
#ifndef XDPLB_LESS_H
#define XDPLB_LESS_H

/* Returns 1 if a < b, else 0: what the subtraction borrows (H. S. Warren, Hacker's Delight, section 2-13). */
static __always_inline __u64 less_u64(__u64 a, __u64 b)
{
	__u64 difference = a - b;

	asm volatile(
		""
		: "+r"(difference)); /* else the compiler recognises a comparison and makes it a branch */
	return ((~a & b) | ((~a | b) & difference)) >> 63;
}

#endif
