# SPDX-License-Identifier: Apache-2.0
"""The metrics of peers: what goes to other balancers and comes from them."""

from __future__ import annotations

from collections.abc import Iterator

from xdplb.control.writing.peer_watch import PeersView
from xdplb.peers.counts import REASONS

from .exposition import NO_LABELS, Family, labels_text

__all__ = ["of_peers"]


def of_peers(view: PeersView) -> Iterator[Family]:
    """Yield all of them; those of single peers without samples if this node has none."""
    counts = view.counts

    def total(name: str, words: str, count: float) -> Family:
        return Family(name, "counter", words, [(NO_LABELS, count)])

    named = [(labels_text(peer=peer.name or str(peer.place), place=str(peer.place)), peer) for peer in view.peers]
    yield Family(
        "xdplb_peer_up",
        "gauge",
        "Whether records go to the peer and come from it.",
        [(labels, int(peer.is_up)) for labels, peer in named],
    )
    yield Family(
        "xdplb_peer_lag_seconds",
        "gauge",
        "Half of the round trip to the peer: how long records are on their way.",
        [(labels, peer.round_trip / 2) for labels, peer in named if peer.round_trip is not None],
    )
    yield Family(
        "xdplb_peer_gaps_total",
        "counter",
        "Datagrams of the peer that never came, since the daemon started: it was asked for all records after that.",
        [(labels, peer.lost) for labels, peer in named],
    )
    yield total("xdplb_peer_sent_total", "Datagrams sent to peers.", counts.sent)
    yield total("xdplb_peer_sent_bytes_total", "Bytes of these, without headers of UDP and IP.", counts.sent_bytes)
    yield total("xdplb_peer_received_total", "Datagrams received on the peers' port, of whomever.", counts.received)
    yield total("xdplb_peer_received_bytes_total", "Bytes of these.", counts.received_bytes)
    yield Family(
        "xdplb_peer_refused_total",
        "counter",
        "Datagrams received on the peers' port that were of no use, by reason.",
        [(labels_text(reason=reason), counts.refused[reason]) for reason in REASONS],
    )
    yield total("xdplb_peer_records_sent_total", "Records sent, each once for every peer.", counts.records_sent)
    yield total("xdplb_peer_records_received_total", "Records received from peers.", counts.records_received)
    yield total(
        "xdplb_peer_records_dropped_total",
        "Records that were neither sent nor taken, since there were too many at once: peers pull them later.",
        counts.records_dropped,
    )
    fates = {name: getattr(view.records, name) for name in ("inserted", "known", "refused", "unplaced")}
    yield Family(
        "xdplb_peer_records_taken_total",
        "counter",
        "What became of records of peers.",
        [(labels_text(result=name), count) for name, count in fates.items()],
    )
    yield total("xdplb_peer_records_made_total", "Records that peers must have.", view.records.made)
    yield total(
        "xdplb_peer_records_lost_total",
        "Records that peers must have and were not told of, since there were too many: they pull them.",
        view.records.lost,
    )
    yield total("xdplb_peer_hints_sent_total", "Hints sent: a backend has gone down or come up.", counts.hints_sent)
    yield total("xdplb_peer_hints_received_total", "Hints received from peers.", counts.hints_received)
    yield Family(
        "xdplb_peer_pulls_total",
        "counter",
        "How often records were pulled from peers, by result.",
        [(labels_text(result=result), counts.pulls[result]) for result in ("done", "failed")],
    )
