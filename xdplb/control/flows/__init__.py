# SPDX-License-Identifier: Apache-2.0
"""Evaluating the flow table: when slots settle, how far drains are, how many records were evicted. Pure."""
