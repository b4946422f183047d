# SPDX-License-Identifier: Apache-2.0
"""The reference model: what the data plane does with a packet, in plain Python. It is the specification.

A packet goes through stages (`process`), with one module for each question that a stage asks:

- parse: what does the frame say? `parse`, `parse_ipv4`, `parse_ipv6`, `parse_transport`
- classify: what kind of packet is it, and is it ours? `classify`, `icmp`, `vip`
- admit: may it pass? `check`, `access`, `limits`
- choose: which backend gets it? `choose`, `flow`, `fragment`, `quic`, `schedule`, `slot`, `flow_hash`
- send: what is sent, and by which NIC? `forward`, `nat`, `nat_icmp`, `counters`
- answer: what goes back to its sender? `echo`, `too_big`, `answer`

bpf/lib has a header of the same name for nearly every module; docs/contributing.md has the table. Nothing here is
shared with the program in the kernel or made to be fast: lengths are taken with slices, checksums by the book, hashes
with Python's integers. Tests send the same packets through both and compare every byte, counter and record.
"""
