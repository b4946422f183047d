# SPDX-License-Identifier: Apache-2.0
"""scripts/demo: xdplb with real traffic, in its own network namespaces."""
