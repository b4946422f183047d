# SPDX-License-Identifier: Apache-2.0
"""keepalived.conf, as described in keepalived.conf(5) of version 2.2.7. Of VRRP nothing is converted."""
