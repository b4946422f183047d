"""Capturing packets as XDP saw and sent them, with the decision on each."""
