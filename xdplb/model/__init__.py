"""What xdplb balances, as plain values: no I/O, no clock, no kernel.

Everything here is immutable and validates itself when it is made, so that a value that exists is a valid one.
"""
