"""Planning the steps that bring the maps to the desired state. Pure functions."""
