"""Changes to the state as pure functions: each checks everything first, and returns the next state or raises.

An edit that changes nothing returns the very state it was given.
"""
