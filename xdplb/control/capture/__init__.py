"""Packets as XDP saw and sent them, written down with what was decided on each."""
