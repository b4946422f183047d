# SPDX-License-Identifier: Apache-2.0
"""Looks at a program of another version before and after it takes the place of the one that runs: docs/takeover.md."""
