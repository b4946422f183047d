# SPDX-License-Identifier: Apache-2.0
"""`python -m docs_pages [--check]`: writes the made parts of docs/reference/, or says which are stale."""

from __future__ import annotations

import sys

from .pages import stale, write

__all__: list[str] = []

if __name__ == "__main__":
    if "--check" in sys.argv[1:]:
        old = stale()
        for page in old:
            print(f"docs: {page} is stale; scripts/docs writes it", file=sys.stderr)
        sys.exit(1 if old else 0)
    for page in write():
        print(f"docs: wrote {page}", file=sys.stderr)
