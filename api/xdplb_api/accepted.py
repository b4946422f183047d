# SPDX-License-Identifier: Apache-2.0
"""Which encodings of an answer a client takes."""

from __future__ import annotations

from starlette.datastructures import Headers

__all__ = ["takes_gzip"]

_GZIP = frozenset({"gzip", "x-gzip", "*"})


def takes_gzip(headers: Headers) -> bool:
    """Return whether the client wants answers in gzip, by `Accept-Encoding` (RFC 9110, 12.5.3); `q=0` refuses it."""
    for part in ",".join(headers.getlist("accept-encoding")).split(","):
        coding, *parameters = (text.strip().lower() for text in part.split(";"))
        if coding in _GZIP:
            return not any(text.startswith("q=") and not text.strip("q=0.") for text in parameters)
    return False
