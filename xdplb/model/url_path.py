# SPDX-License-Identifier: Apache-2.0
"""What may be the path of a URL."""

from __future__ import annotations

__all__ = ["PATH_HINT", "PATH_PATTERN"]

PATH_PATTERN = r"^/[!-~]*$"
PATH_HINT = "a path starts with / and has no spaces"
