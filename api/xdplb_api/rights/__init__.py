# SPDX-License-Identifier: Apache-2.0
"""Who may do what: which role a peer has, by its groups, its token or its certificate, and which one a route needs."""
