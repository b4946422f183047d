"""Writes the parts of docs/reference/ that are made from the code, and builds the site of docs/."""
