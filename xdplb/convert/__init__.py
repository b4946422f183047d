# SPDX-License-Identifier: Apache-2.0
"""Configurations of other balancers, as config files of xdplb. What has no counterpart is told line by line."""
