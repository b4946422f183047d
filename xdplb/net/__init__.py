# SPDX-License-Identifier: Apache-2.0
"""Links, neighbours, routes, and the settings of a backend's host. The only package that uses pyroute2."""
