# SPDX-License-Identifier: Apache-2.0
"""What can be asked about tokens, which takes the role admin."""

from __future__ import annotations

from typing import Unpack
from urllib.parse import quote

from .answer import Answer
from .bodies import TokenAddedOut, TokenIn, TokenListOut
from .transport import How, Transport

__all__ = ["Tokens"]

_PATH = "/v1/tokens"


class Tokens:
    """What those who come by TCP show to be let in."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def list(self) -> Answer[TokenListOut]:
        """Return all tokens, by name, without their secrets."""
        return self._transport.request("GET", _PATH)

    def add(self, token: TokenIn, **how: Unpack[How]) -> Answer[TokenAddedOut]:
        """Add a token; `token` of the answer is its secret, which is shown only now. ConflictError if there is one."""
        return self._transport.change("POST", _PATH, token, how)

    def remove(self, name: str, **how: Unpack[How]) -> Answer[None]:
        """Remove a token: it is of no use from then on. NotFoundError if there is none."""
        return self._transport.change("DELETE", f"{_PATH}/{quote(name, safe='')}", None, how)
