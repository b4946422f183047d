# SPDX-License-Identifier: Apache-2.0
"""What would happen to a packet, and why: the answers of the reference model and of the program, compared."""
