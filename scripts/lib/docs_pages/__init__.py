# SPDX-License-Identifier: Apache-2.0
"""Writes the parts of docs/reference/ that are made from the code, and builds the site of docs/."""
