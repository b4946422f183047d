/* Passes every frame on. A veth takes what XDP sends to it only with a program on its other end: labs put this there. */
int pass(struct xdp_md *ctx)
{
	return XDP_PASS;
}
