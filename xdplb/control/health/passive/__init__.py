# SPDX-License-Identifier: Apache-2.0
"""Passive health: what the sampled handshakes of clients say about backends. Used by `writing/passive_watch.py`."""
