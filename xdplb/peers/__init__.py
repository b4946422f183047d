# SPDX-License-Identifier: Apache-2.0
"""The network half of record sync: what balancers of a cluster send each other by UDP, and pull over the API.

Nothing here decides anything: records, hints and statuses are handed on to whoever listens.
"""
