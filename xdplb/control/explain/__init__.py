"""What would happen to a packet, and why: the answers of the reference model and of the program, compared."""
