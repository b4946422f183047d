"""The Maglev table and its refill, rotations, and the moves of slots: pure functions over numpy arrays."""
