# SPDX-License-Identifier: Apache-2.0
"""One desired state for several balancers: what is asked of the store that they share, and one in memory for tests."""
