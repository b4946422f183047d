"""Passive health: what the sampled handshakes of clients say about backends. Pure; `writing/passive_watch.py` uses it."""
