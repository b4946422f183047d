# SPDX-License-Identifier: Apache-2.0
"""The single writer of the desired state and the maps, and the blocking work that it does in threads."""
