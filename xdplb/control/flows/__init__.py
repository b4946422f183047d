"""What the flow table says: when slots settle, how far drains are, what was evicted. Pure."""
