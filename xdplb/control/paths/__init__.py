# SPDX-License-Identifier: Apache-2.0
"""The paths to backends in tunnels: what routers say of them by ICMP, how much of it is believed, and for how long."""
