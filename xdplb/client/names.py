# SPDX-License-Identifier: Apache-2.0
"""What can be asked about names in DNS."""

from __future__ import annotations

from typing import Unpack
from urllib.parse import quote

from .answer import Answer
from .bodies import DnsForgottenOut, DnsListOut
from .transport import How, Transport

__all__ = ["Names"]

_PATH = "/v1/dns"


class Names:
    """The names of VIPs in DNS."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def list(self) -> Answer[DnsListOut]:
        """Return all names and their addresses, as they were read last."""
        return self._transport.request("GET", _PATH)

    def forget(self, node: str, **how: Unpack[How]) -> Answer[DnsForgottenOut]:
        """Take back what a node that is gone has left there. ConflictError if it is the one that is asked."""
        return self._transport.change("DELETE", f"{_PATH}/nodes/{quote(node, safe='')}", None, how)
