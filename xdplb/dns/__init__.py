# SPDX-License-Identifier: Apache-2.0
"""Dynamic DNS: what a name has, how that is changed (RFC 2136, signed by RFC 8945). Only here is dnspython."""
