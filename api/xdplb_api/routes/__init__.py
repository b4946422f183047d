"""One file a noun, each with its routes."""
