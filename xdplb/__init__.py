# SPDX-License-Identifier: Apache-2.0
"""xdplb: an L4 load balancer for Linux in XDP, with its control plane."""

__version__ = "0.9.0"
