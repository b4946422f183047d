# SPDX-License-Identifier: Apache-2.0
"""The bodies of requests and responses, one module per resource.

Requests are strict: unknown fields are refused, and so is `"80"` or `true` for a number.
"""
