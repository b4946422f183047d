"""What would become of a packet, and why: asked of the reference model and of the program, and compared."""
