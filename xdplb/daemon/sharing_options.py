# SPDX-License-Identifier: Apache-2.0
"""What `xdplb up` was told of other balancers: the store and the peers. It imports nothing that takes long."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from xdplb.model.store_address import StoreAccess, StoreAddress
from xdplb.peers.addresses import Place

__all__ = ["PeerOptions", "StoreOptions"]


@dataclass(frozen=True, slots=True)
class StoreOptions:
    """The store that balancers share: where it is, and how this one makes itself known there."""

    address: StoreAddress
    access: StoreAccess


@dataclass(frozen=True, slots=True)
class PeerOptions:
    """Where this node listens to its peers, who they are, and the key that all share.

    The other files are what is shown to the peers' APIs, where records are pulled.
    """

    listen: tuple[Place, ...]
    peers: tuple[Place, ...]
    key_file: Path
    token_file: Path | None = None
    ca_file: Path | None = None
    cert_file: Path | None = None
    cert_key_file: Path | None = None
