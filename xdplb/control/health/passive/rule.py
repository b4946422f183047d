# SPDX-License-Identifier: Apache-2.0
"""When a backend's handshakes stop being answered: a test against its peers, and against itself before.

A handshake is due when its SYN is older than what the VIP's clients need to answer (`overdue_seconds`). Of the last
`m` handshakes due at a backend, `k` are unanswered. If it were as its peers are in the same moments, each would be
unanswered with a probability `p`: the largest of what its peers leave unanswered, what it left unanswered itself right
before, and LEAST_SHARE. So the chance of `k` or more is the tail of a binomial distribution. It is asked for several
`m`, of which the whole may be wrong with no more than the probability that is given.

Only handshakes of sources that have answered others count: see sources.py. What one source leaves unanswered counts no
more than a few times, as soon as there are others.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from functools import lru_cache
from math import ceil, comb

import numpy as np
from numpy.typing import NDArray

__all__ = ["EJECT_BELOW", "SUSPECT_BELOW", "Finding", "Sample", "judge", "overdue_seconds", "unanswered_sentence"]

EJECT_BELOW = 1e-9
"""The probability with which one look at one backend may eject it although it is as its peers are."""

SUSPECT_BELOW = 1e-3
"""The same for a suspicion, which ends as soon as the backend answers."""

WINDOW_SECONDS = 10.0
"""How far back handshakes that were due are looked at."""

LEAST_SHARE = 0.02
"""Of a backend that is well, so many handshakes may go unanswered: clients vanish, packets are lost."""

MOST_OWN_SHARE = 0.5
"""What it left unanswered before excuses no more than this: a backend that never answered is an outlier, too."""

LEAST_PEERS = 4
"""Handshakes due at peers in the same moments; with fewer nothing is said."""

LENGTHS = (3, 4, 6, 8, 10, 12, 16, 24, 32, 48, 64)
"""How many of the last handshakes are looked at."""

MOST_OWN = 512
"""How many of a backend's own handshakes are gone through, one by one."""

ENOUGH = 12
"""Handshakes that are enough to eject a backend: the sources there are share them."""

LEAST_OF_A_SOURCE = 3


@dataclass(frozen=True, slots=True)
class Sample:
    """The handshakes of one VIP that count, as columns of equal length.

    `began` is when the first SYN came, in seconds of any clock. Those that the client has given up are left out.
    """

    backend: NDArray[np.int64]
    source: NDArray[np.uint64]
    began: NDArray[np.float64]
    answered: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Finding:
    """What speaks against a backend: `unanswered` of its last `handshakes`, of which the first began `seconds` ago.

    `peers_answer` is the share that its peers answered of theirs meanwhile. `chance` is the probability of as much, or
    more, if the backend were as its peers are.
    """

    backend: int
    handshakes: int
    unanswered: int
    seconds: float
    peers_answer: float
    chance: float


def overdue_seconds(p99: float | None) -> float:
    """Return after how long a handshake is due, by the latency that 99 % of the VIP's stay below, None if not known."""
    return 0.5 if p99 is None else min(max(0.2, 4 * p99), 0.5)


def unanswered_sentence(found: Finding) -> str:
    """Return what was found as part of a sentence."""
    return (
        f"{found.unanswered} of {found.handshakes} handshakes unanswered in {found.seconds:.1f} s; "
        f"peers answer {found.peers_answer:.0%}".replace("%", " %")
    )


def judge(sample: Sample, now: float, overdue: float, ejected: AbstractSet[int]) -> dict[int, Finding]:
    """Return what speaks against backends, by id: no more than what has a chance below SUSPECT_BELOW.

    Those that are `ejected` are neither judged nor peers.
    """
    age = now - sample.began
    due = np.flatnonzero((age >= overdue) & (age <= overdue + WINDOW_SECONDS))
    if ejected:
        due = due[~np.isin(sample.backend[due], list(ejected))]
    due = due[np.argsort(sample.began[due], kind="stable")]
    backend, began, waits = sample.backend[due], sample.began[due], ~sample.answered[due]
    most = max(LEAST_OF_A_SOURCE, ceil(ENOUGH / max(1, len(np.unique(sample.source[sample.answered])))))
    ids, counts = np.unique(backend[waits], return_counts=True)
    found: dict[int, Finding] = {}
    for number in ids[counts >= LENGTHS[0]].tolist():
        own = _counted(np.flatnonzero(backend == number)[-MOST_OWN:], waits, sample.source[due], most)
        peers = backend != number
        findings = _findings(number, own, waits, (began, peers), now)
        worst = min(findings, key=lambda one: one.chance, default=None)
        if worst is not None and worst.chance < SUSPECT_BELOW:
            found[number] = worst
    return found


def _counted(
    own: NDArray[np.intp], waits: NDArray[np.bool_], source: NDArray[np.uint64], most: int
) -> NDArray[np.intp]:
    """Return a backend's handshakes, of one source no more than the latest `most` that are unanswered."""
    seen = Counter[int]()
    kept: list[int] = []
    for at in reversed(own.tolist()):
        if waits[at]:
            mine = int(source[at])
            seen[mine] += 1
            if seen[mine] > most:
                continue
        kept.append(at)
    return np.array(kept[::-1], np.intp)


def _findings(
    number: int,
    own: NDArray[np.intp],
    waits: NDArray[np.bool_],
    others: tuple[NDArray[np.float64], NDArray[np.bool_]],
    now: float,
) -> Iterator[Finding]:
    began, peers = others
    for length in LENGTHS:
        if length > len(own):
            return
        last = own[-length:]
        unanswered = int(np.count_nonzero(waits[last]))
        since = began[last[0]]
        theirs = waits[peers & (began >= since)]
        if 2 * unanswered < length or len(theirs) < LEAST_PEERS:
            continue
        at_peers = (int(np.count_nonzero(theirs)) + 1) / (len(theirs) + 2)  # Laplace's rule of succession
        before = waits[own[:-length]]
        at_itself = min(MOST_OWN_SHARE, (int(np.count_nonzero(before)) + 1) / (len(before) + 2))
        chance = _tail(unanswered, length, max(LEAST_SHARE, at_peers, at_itself)) * len(LENGTHS)
        answered = 1 - np.count_nonzero(theirs) / len(theirs)
        yield Finding(number, length, unanswered, float(now - since), float(answered), min(1.0, chance))


@lru_cache(maxsize=4096)
def _tail(least: int, trials: int, share: float) -> float:
    """Return the probability of `least` or more of `trials`, each of probability `share`."""
    return sum(comb(trials, k) * share**k * (1 - share) ** (trials - k) for k in range(least, trials + 1))
