# SPDX-License-Identifier: Apache-2.0
"""What a node needs to talk to its peers, as it was given: bound sockets, keys, and who they are."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from .addresses import Place
from .keys import Keys, read_keys
from .pull import Puller
from .sockets import PeerSockets

__all__ = ["Peering"]


@dataclass(frozen=True, slots=True)
class Peering:
    """The sockets are bound. `peers` are those that were named; a store may know others."""

    sockets: PeerSockets
    keys: Keys
    key_file: Path
    peers: tuple[Place, ...] = ()
    puller: Puller = field(default_factory=Puller)

    def read_keys(self) -> Keys:
        """Return the keys that are in the file now. Raises PlatformError if they are of no use."""
        return read_keys(self.key_file)
