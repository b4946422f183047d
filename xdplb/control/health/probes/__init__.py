# SPDX-License-Identifier: Apache-2.0
"""Probes: what one try of a check says and hears, a file for each protocol, and the sockets under them."""
