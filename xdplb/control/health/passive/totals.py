# SPDX-License-Identifier: Apache-2.0
"""What the counters of sampled handshakes say of the last minutes, and which backend differs from its peers. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from xdplb.control.health.passive.latency import quantile
from xdplb.dataplane import layout

__all__ = ["Latency", "Totals"]

_HALF_LIFE_SECONDS = 60.0
_COUNTED = ("begun", "repeated", "answered", "refused")

_LEAST = 100.0
"""Handshakes of a backend, and of its peers, before it is said that they differ."""

_BUCKETS_APART = 1.0
"""How much slower than its peers is worth a hint: twice as slow."""

_SHARE_APART = 0.05
"""The same of the share that is unanswered."""

_DEVIATIONS = 6.0
"""How sure it must be, in standard deviations: by chance one of 10^9 is so far off."""


@dataclass(frozen=True, slots=True)
class Latency:
    """What half of the handshakes stay below, and 99 %, in seconds; of the last minutes, the latest count most."""

    p50: float
    p99: float


class Totals:
    """The handshakes of one VIP's backends, of which those from a minute ago count half."""

    def __init__(self) -> None:
        self._keys: tuple[tuple[int, int], ...] = ()
        self._at = 0.0
        self._last = np.zeros(0, layout.HANDSHAKE_COUNTERS)
        self._counts = {name: np.zeros(0) for name in _COUNTED}
        self._latency = np.zeros((0, layout.HANDSHAKE_BUCKETS))
        self._seen: tuple[Mapping[int, int], NDArray[np.float64]] = {}, self._latency
        """The place of each backend, and the latencies of all. Replaced as a whole."""

    def note(self, keys: tuple[tuple[int, int], ...], counters: NDArray[np.void], now: float) -> None:
        """Take in a reading: the counters of each backend, by id and epoch, at `now` in seconds of any clock."""
        if keys != self._keys:
            self._follow(keys)
        fresh = counters["begun"] < self._last["begun"]  # the counters began anew
        self._last[fresh] = 0
        kept = 0.5 ** ((now - self._at) / _HALF_LIFE_SECONDS)
        for name, held in self._counts.items():
            self._counts[name] = held * kept + (counters[name] - self._last[name])
        self._latency = self._latency * kept + (counters["latency"] - self._last["latency"])
        self._last, self._at = counters.copy(), now
        self._seen = {number: place for place, (number, _) in enumerate(keys)}, self._latency

    def p99(self) -> float | None:
        """Return what 99 % of the VIP's handshakes stay below, in seconds, None without any."""
        return quantile(self._latency.sum(axis=0), 0.99)

    def latency(self, backend_id: int) -> Latency | None:
        """Return the latency of a backend, None if it has had no handshake lately. In any thread."""
        places, rows = self._seen
        place = places.get(backend_id)
        if place is None:
            return None
        p50, p99 = quantile(rows[place], 0.5), quantile(rows[place], 0.99)
        return None if p50 is None or p99 is None else Latency(p50, p99)

    def differing(self) -> dict[int, str]:
        """Return the ids of backends that differ from their peers, each with how, as a sentence."""
        return {self._keys[place][0]: sentence for place, sentence in (*self._worse(), *self._slower())}

    def _slower(self) -> Iterator[tuple[int, str]]:
        own = self._latency
        together = own.sum(axis=0)
        peers = together - own
        enough = (own.sum(axis=1) >= _LEAST) & (peers.sum(axis=1) >= _LEAST)
        (mine, my_error), (theirs, their_error) = _mean(own), _mean(peers)
        apart = mine - theirs
        found = enough & (apart >= _BUCKETS_APART) & (apart >= _DEVIATIONS * np.sqrt(my_error + their_error))
        for place in np.flatnonzero(found).tolist():
            slow, usual = (quantile(rows[place], 0.5) or 0.0 for rows in (own, peers))
            yield place, f"half of its handshakes take more than {_shown(slow)}, of those of its peers {_shown(usual)}"

    def _worse(self) -> Iterator[tuple[int, str]]:
        own, failed = self._counts["begun"], self._unanswered()
        if own.sum() < _LEAST:
            return
        peers = np.maximum(own.sum() - own, 1.0)
        mine, theirs = failed / np.maximum(own, 1.0), (failed.sum() - failed) / peers
        both = failed.sum() / own.sum()
        error = np.sqrt(both * (1 - both) * (1 / np.maximum(own, 1.0) + 1 / peers))
        apart = mine - theirs
        found = (own >= _LEAST) & (peers >= _LEAST) & (apart >= _SHARE_APART) & (apart >= _DEVIATIONS * error)
        for place in np.flatnonzero(found).tolist():
            shares = f"{mine[place]:.0%} of its handshakes go unanswered, {theirs[place]:.0%} of those of its peers"
            yield place, shares.replace("%", " %")

    def _unanswered(self) -> NDArray[np.float64]:
        counts = self._counts
        left: NDArray[np.float64] = np.maximum(counts["begun"] - counts["answered"] - counts["refused"], 0.0)
        return left

    def _follow(self, keys: tuple[tuple[int, int], ...]) -> None:
        """Keep what is known of those that are still there."""
        places = {key: place for place, key in enumerate(self._keys)}
        stays = [(new, places[key]) for new, key in enumerate(keys) if key in places]
        new, old = [pair[0] for pair in stays], [pair[1] for pair in stays]
        last, latency = np.zeros(len(keys), self._last.dtype), np.zeros((len(keys), layout.HANDSHAKE_BUCKETS))
        last[new], latency[new] = self._last[old], self._latency[old]
        for name, held in self._counts.items():
            self._counts[name] = np.zeros(len(keys))
            self._counts[name][new] = held[old]
        self._keys, self._last, self._latency = keys, last, latency


def _mean(rows: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the mean bucket of each row, a logarithm of its latencies, and the square of its standard error."""
    numbers, sums = np.arange(rows.shape[1]), np.maximum(rows.sum(axis=1), 1.0)
    mean = rows @ numbers / sums
    variance = np.maximum(rows @ numbers**2 / sums - mean**2, 0.0)
    return mean, variance / sums


def _shown(seconds: float) -> str:
    return f"{seconds * 1000:.3g} ms"
