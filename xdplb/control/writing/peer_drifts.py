# SPDX-License-Identifier: Apache-2.0
"""What is not as it should be with the peers: silence, other keys, one name for two, and other VIPs and backends."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from xdplb.control.events import DriftKind
from xdplb.control.writing.drifts import Drifts
from xdplb.model.node_status import NodeStatus
from xdplb.peers.addresses import Place
from xdplb.peers.exchange import Peer

__all__ = ["PeerDrifts"]

_SILENT_SECONDS = 10.0
"""A peer that is silent for longer is drift: a restart takes less."""
_DIFFERS_SECONDS = 60.0


class PeerDrifts:
    """Tells what is not as it should be. Used in the event loop. `clock` is monotonic, in seconds."""

    def __init__(self, drifts: Drifts, clock: Callable[[], float]) -> None:
        self._drifts, self._clock, self._began = drifts, clock, clock()
        self._ambiguous: set[str] = set()
        """Names that several nodes had when it was looked last."""
        self._wrong_keys: dict[Place, float] = {}
        self._differing: dict[str, float] = {}

    def stands(self, what: str, reason: str) -> None:
        """Note that this is not as it should be."""
        self._drifts.stands(DriftKind.PEER, what, reason)

    def well(self, what: str) -> None:
        """Note that this is as it should be."""
        self._drifts.well(DriftKind.PEER, what)

    def alone_at_start(self, named: int, seconds: float) -> None:
        """Tell that no peer answered when this node started."""
        who = "the peer did not answer" if named == 1 else f"none of the {named} peers answered"
        why = f"{who} within {seconds:g} s of the start: connections that other nodes know of are not known here"
        self._drifts.noted(DriftKind.PEER, "start", why, repaired=False)

    def wrong_key(self, place: Place) -> None:
        """Note that somebody there has just signed with a key that is none of this node's."""
        self._wrong_keys[place] = self._clock()

    def look(self, own: NodeStatus, peers: Sequence[Peer]) -> None:
        """Compare this node with its peers, as they are now."""
        now = self._clock()
        up = [peer for peer in peers if peer.is_up]
        ups = {peer.boot for peer in up}
        for peer in peers:
            silent = now - max(self._began, peer.heard or 0.0)
            what = str(peer.place)
            if peer.is_up or not peer.is_named or peer.boot in ups:
                self.well(what)
            elif silent > _SILENT_SECONDS:
                who = f"{peer.name} ({peer.place})" if peer.name else str(peer.place)
                since = f"for {silent:.0f} s" if peer.heard is not None else "since this node started"
                self.stands(what, f"peer {who} has not been heard of {since}: is it up, and does UDP get through?")
        self._look_at_keys(now)
        self._look_at_names(own, up)
        self._look_at_states(now, own, up)

    def _look_at_keys(self, now: float) -> None:
        for place, at in list(self._wrong_keys.items()):
            what = f"{place} key"
            if now - at > _SILENT_SECONDS:
                del self._wrong_keys[place]
                self.well(what)
            else:
                self.stands(what, f"peer {place}: wrong key: its key file has none of the keys of this node's")

    def _look_at_names(self, own: NodeStatus, up: Sequence[Peer]) -> None:
        boots: dict[str, set[bytes]] = {own.name: {b""}}
        for peer in up:
            boots.setdefault(peer.name, set()).add(peer.boot)
        ambiguous = [name for name, those in boots.items() if len(those) > 1]
        for name in self._ambiguous.difference(ambiguous):
            self.well(f"{name} name")
        for name in ambiguous:
            self.stands(f"{name} name", f"several nodes are called {name}: give each its own name, with --node")
        self._ambiguous = set(ambiguous)

    def _look_at_states(self, now: float, own: NodeStatus, up: Sequence[Peer]) -> None:
        there = {peer.name: peer.status for peer in up if peer.status is not None}
        for name in [name for name in self._differing if name not in there]:
            del self._differing[name]
            self.well(f"{name} state")
        for name, status in there.items():
            digests = own.digest, status.digest
            if not all(digests) or digests[0] == digests[1]:
                self._differing.pop(name, None)
                self.well(f"{name} state")
                continue
            seconds = now - self._differing.setdefault(name, now)
            if seconds > _DIFFERS_SECONDS:
                self.stands(
                    f"{name} state",
                    f"node {name} has had other VIPs or backends than this one for {seconds:.0f} s:"
                    " connections may go elsewhere there; compare xdplb config dump of both",
                )
