# SPDX-License-Identifier: Apache-2.0
"""Health checks, and the known health of each backend."""
