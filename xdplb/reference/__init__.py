"""The reference model: what the data plane does with a packet, in plain Python. It is the specification.

One module a question, in the order in which they are asked of a packet:

- `parse`, `ipv4`, `ipv6`, `transport`: what is this packet?
- `vips`: whose is it?
- `checks`, `access`, `limits`: may it pass?
- `choose`, `flows`, `quic`, `schedule`, `flow_hash`: which backend gets it?
- `fragments`, `echo`, `icmp_errors`: the packets that have no ports of their own
- `forward`, `too_big`: what leaves, and by which NIC?

`process.Reference` asks them. Nothing here is shared with the program in the kernel or made to be fast: lengths are
taken with slices, checksums by the book, hashes with Python's integers. Tests send the same packets through both and
compare every byte, counter and record.
"""
