/* Comparing without a branch, where a CPU could not predict it and the verifier would follow both ways. */
#ifndef XDPLB_LESS_H
#define XDPLB_LESS_H

/* Returns 1 if a < b, else 0: what the subtraction borrows (H. S. Warren, Hacker's Delight, section 2-13). */
static __always_inline __u64 less_u64(__u64 a, __u64 b)
{
	__u64 difference = a - b;

	asm volatile("" : "+r"(difference)); /* or the compiler sees what this is and makes it a branch */
	return ((~a & b) | ((~a | b) & difference)) >> 63;
}

#endif
