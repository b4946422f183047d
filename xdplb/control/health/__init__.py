"""Health checks, and what is known of the health of each backend."""
