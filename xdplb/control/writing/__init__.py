"""The single writer of the state and the maps, and its blocking side."""
