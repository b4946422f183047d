"""The Maglev table, its refill and the moves of slots: pure functions over numpy arrays."""
