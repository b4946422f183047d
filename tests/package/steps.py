# SPDX-License-Identifier: Apache-2.0
"""What a trial prints of each of its steps: the time that it took, or that it failed, and with what."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["step"]


@contextmanager
def step(what: str) -> Iterator[None]:
    """Print the seconds that the block takes. If it raises, say which step failed, and end the program with exit 1."""
    began = time.monotonic()
    try:
        yield
    except Exception as error:
        print(f"{time.monotonic() - began:6.1f} s  FAILED: {what}", flush=True)
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        raise SystemExit(f"failed: {what}") from error
    print(f"{time.monotonic() - began:6.1f} s  {what}", flush=True)
