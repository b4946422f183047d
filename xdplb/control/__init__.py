"""The control plane: desired state in, map contents out, by a single writer."""
