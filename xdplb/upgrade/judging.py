# SPDX-License-Identifier: Apache-2.0
"""Whether a new program drops, passes or loses more packets than the one before. Pure.

A program that is wrong gives packets another result: what has become more of one comes out of the others. Traffic that
changes by itself does not look like that: a flood adds to one result and takes nothing from the others, and clients
that leave take from one and add nothing, though the share of what is left grows. So a jump needs all three: a share of
a result that is certainly larger than before, more such packets a second, and a loss elsewhere of about as much.

Clients that wait for an answer send little once they get none: a program that drops all their SYNs shows few packets.
So a few drops are enough where nearly all other packets have ended at the same time.

Before the swap there is no daemon. Once the new one has begun its work, the answers to its checks are passed, and what
it finds out or is told (a backend that is down, an access list) makes drops of its own: from then on such results say
nothing about the program.
"""

from __future__ import annotations

from math import sqrt

from xdplb.dataplane.spans import SENT, UNCOUNTED, Span

__all__ = ["worse"]

_FEWEST = 20
"""Packets of a result, fewer of which say nothing."""
_FEWEST_IN_SILENCE = 4
"""The same of drops while nearly nothing else is seen: two clients' SYNs, and their repetitions a second later."""
_MISSED_IN_SILENCE = 100
"""Packets that should have been seen, fewer of which make no silence."""
_SILENCE = 0.1
"""The most of them that may be seen in it."""
_OTHERS_IN_SILENCE = 5
"""The most of them for each drop: of more, a few drops are noise."""
_FEWEST_BEFORE = 50
_Z = 4.0
"""Standard deviations: noise passes this bound once in 30,000 times."""
_SHARE = 0.05
"""A share that is larger by less than this is no jump."""
_TIMES = 2.0
"""Nor is one that is not this many times what it was, unless it is more than half of what it was not."""
_TAKEN = 0.5
"""How much of the increase must be missing elsewhere."""


_OF_THE_DAEMON = ("pass_", "drop_no_backend", "drop_backend_down", "drop_denied", "drop_source_rate", "drop_vip_rate")
"""What results begin with that the daemon's own work may lead to."""


def worse(before: Span, after: Span, *, alone: bool) -> str | None:
    """Return what became worse, in words; None if nothing did, or if there were too few packets to tell.

    `alone`: the daemon has not begun its work.
    """
    if before.total < _FEWEST_BEFORE:
        return None
    left_out = (SENT, "answer_") if alone else (SENT, "answer_", *_OF_THE_DAEMON)
    for name in sorted(after.packets, key=lambda name: -after.packets[name]):
        if not name.startswith(left_out) and _has_jumped(name, before, after):
            return (
                f"{_in_words(name)}: {after.share(name):.1%} of {after.total} packets in {after.seconds:.1f} s, "
                f"before {before.share(name):.1%} of {before.total} in {before.seconds:.1f} s"
            )
    return None


def _has_jumped(name: str, before: Span, after: Span) -> bool:
    if _is_silence(name, before, after):
        as_before = before.rate(name) * after.seconds
        return after.packets[name] >= max(_FEWEST_IN_SILENCE, as_before + _Z * sqrt(as_before))
    if after.packets[name] < _FEWEST:
        return False
    most = _bounds(before.packets.get(name, 0), before.total)[1]
    least = _bounds(after.packets[name], after.total)[0]
    if least < most + _SHARE or (least < _TIMES * most and least < most + (1 - most) / 2):
        return False
    if not _comes_more_often(name, before, after):
        return False
    more = after.rate(name) - before.rate(name)
    names = before.packets.keys() - {name}
    missing = sum(max(0.0, before.rate(each) - after.rate(each)) for each in names)
    return missing >= _TAKEN * more


def _is_silence(name: str, before: Span, after: Span) -> bool:
    """Whether packets are dropped, and nearly all others that should have come are missing.

    What is counted nowhere says nothing in so few packets: a packet may come between the readings of two counters.
    """
    if not name.startswith("drop_"):
        return False
    wanted = (before.total - before.packets.get(name, 0)) / before.seconds * after.seconds
    others = after.total - after.packets[name]
    return wanted >= _MISSED_IN_SILENCE and others <= min(_SILENCE * wanted, _OTHERS_IN_SILENCE * after.packets[name])


def _comes_more_often(name: str, before: Span, after: Span) -> bool:
    """Return whether more packets of a result come in a second than before: more of them than its time's share."""
    count = after.packets[name]
    least = _bounds(count, count + before.packets.get(name, 0))[0]
    return least > after.seconds / (before.seconds + after.seconds)


def _bounds(count: int, total: int) -> tuple[float, float]:
    """Return the Wilson score interval of a share (E. B. Wilson, JASA 22, 1927)."""
    share, square = count / total, _Z * _Z
    middle = (share + square / (2 * total)) / (1 + square / total)
    width = _Z / (1 + square / total) * sqrt(share * (1 - share) / total + square / (4 * total * total))
    return middle - width, middle + width


def _in_words(name: str) -> str:
    return "packets that are counted nowhere" if name == UNCOUNTED else f"packets with {name}"
