# SPDX-License-Identifier: Apache-2.0
"""What xdplb balances, as plain values: no I/O, no clock, no kernel.

Every value is immutable and is validated when it is created, so that every value that exists is valid.
"""
