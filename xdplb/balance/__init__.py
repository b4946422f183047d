# SPDX-License-Identifier: Apache-2.0
"""The Maglev table and its refill, rotations, and the moves of slots: pure functions over numpy arrays."""
