# SPDX-License-Identifier: Apache-2.0
"""Capturing packets as XDP saw and sent them, with the decision on each."""
