# SPDX-License-Identifier: Apache-2.0
"""A cluster of balancers in a lab, with real load: for `scripts/demo cluster`, the tests, and `scripts/soak`."""
