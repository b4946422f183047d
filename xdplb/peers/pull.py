# SPDX-License-Identifier: Apache-2.0
"""Pulling what a peer knows of open connections, over its API. It blocks: it is done in a thread of its own."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from xdplb.client import Client
from xdplb.model.errors import XdplbError
from xdplb.model.shared_record import SharedState

from .state import decode_state

__all__ = ["Puller"]

_ANSWER_SECONDS = 3.0
_ALL_SECONDS = 20.0
_MOST_BYTES = 256 << 20
"""About ten million records."""


@dataclass(frozen=True, slots=True)
class Puller:
    """What is shown to peers' APIs: a token, a client certificate, or both; and whom to believe their certificates.

    The file has one token, or one for each peer in a line after its name.
    """

    token_file: str | None = None
    ca_file: str | None = None
    cert_file: str | None = None
    key_file: str | None = None

    def pull(self, name: str, url: str) -> SharedState:
        """Return what a node knows, by its name and URL. Raises XdplbError if it does not say, or not all of it."""
        client = Client(
            url=url,
            token_file=self.token_file,
            ca_file=self.ca_file,
            cert_file=self.cert_file,
            key_file=self.key_file,
            token_name=name,
            timeout=_ANSWER_SECONDS,
            retries=0,
        )
        try:
            with client.records() as chunks:
                return decode_state(_in_time(chunks, url), _MOST_BYTES)
        except ValueError as error:
            raise XdplbError(f"the records of {url} are of no use: {error}") from None


def _in_time(chunks: Iterable[bytes], url: str) -> Iterator[bytes]:
    """Yield the chunks. Raises XdplbError if they take too long: a peer may send one byte at a time."""
    end = time.monotonic() + _ALL_SECONDS
    for chunk in chunks:
        if time.monotonic() > end:
            raise XdplbError(f"the records of {url} were not all there after {_ALL_SECONDS:g} s")
        yield chunk
