"""Health checks, and the known health of each backend."""
