"""The command line: one file a noun. Imports are lazy, so that a client command starts quickly."""
