# SPDX-License-Identifier: Apache-2.0
"""The desired state, this host's ids and generations for it, and the store that keeps them."""
