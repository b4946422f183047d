"""What `xdplb doctor` looks at: the host, its NICs, and the daemon that runs on it."""
