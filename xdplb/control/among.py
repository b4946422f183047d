# SPDX-License-Identifier: Apache-2.0
"""What a balancer is among others, and what it shares with them by: values that the daemon makes of its options."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from xdplb.cluster.repository import Repository
from xdplb.control.writing.announce_watch import UsedTable
from xdplb.model.announcing import Announcing
from xdplb.model.node import name_of_host
from xdplb.peers.peering import Peering

__all__ = ["Among", "Names", "SharedStore"]


@dataclass(frozen=True, slots=True)
class SharedStore:
    """The store that balancers share; `place` is where it is, as it is shown. The repository is closed by its maker."""

    repository: Repository
    place: str


@dataclass(frozen=True, slots=True)
class Names:
    """How names in DNS are kept.

    `book` is the file in which those are noted at which this node has entered addresses, None to keep that in memory.
    `leaves` says at the end whether to withdraw them.
    """

    book: Path | None = None
    leaves: Callable[[], bool] = lambda: False


@dataclass(frozen=True, slots=True, kw_only=True)
class Among:
    """A balancer among others.

    `node` is its name, and `url` where the others reach its API, empty if they cannot. `store` is what it shares with
    them, and `peering` what it talks to its peers with; None if there is none. `table` is where routes announce VIPs,
    None if none do; `announcing` is what was told of that, and of files for keepalived.
    """

    node: str = field(default_factory=name_of_host)
    url: str = ""
    store: SharedStore | None = None
    peering: Peering | None = None
    announcing: Announcing = field(default_factory=Announcing)
    table: UsedTable | None = None
    names: Names = field(default_factory=Names)
