# SPDX-License-Identifier: Apache-2.0
"""Tunnels that end at the balancer."""

from __future__ import annotations

from dataclasses import dataclass

from .address import IPAddress, IPNetwork
from .errors import InvalidError

__all__ = ["MOST_ENDS", "MOST_SOURCES", "NO_DECAP", "Decap", "checked_decap"]

MOST_ENDS, MOST_SOURCES = 16, 64


@dataclass(frozen=True, slots=True)
class Decap:
    """The addresses `at` which tunnels end, and the prefixes `sources` whose packets are taken out of them."""

    at: tuple[IPAddress, ...] = ()
    sources: tuple[IPNetwork, ...] = ()

    def allows(self, source: IPAddress) -> bool:
        """Whether packets from this source are taken out of their tunnels."""
        return any(source in prefix for prefix in self.sources)


NO_DECAP = Decap()


def checked_decap(at: tuple[IPAddress, ...], sources: tuple[IPNetwork, ...]) -> Decap:
    """Return the tunnels that end here, each end and prefix once; InvalidError if nothing could come out of them."""
    decap = Decap(tuple(dict.fromkeys(at)), tuple(dict.fromkeys(sources)))
    if decap.sources and not decap.at:
        raise InvalidError(
            "--decap-from needs --decap-at", hint="name the addresses at which tunnels end, such as --decap-at 10.0.0.2"
        )
    for end in decap.at:
        if not any(prefix.version == end.version for prefix in decap.sources):
            example = "10.0.0.0/24" if end.version == 4 else "2001:db8:1::/64"
            raise InvalidError(
                f"--decap-at {end}: --decap-from allows no IPv{end.version} source",
                hint=f"say whose packets are taken, such as --decap-from {example}",
            )
        if end.is_multicast or end.is_unspecified or end.is_loopback or end.is_link_local:
            raise InvalidError(f"no tunnel can end at --decap-at {end}", hint="give an address of this host")
    if len(decap.at) > MOST_ENDS or len(decap.sources) > MOST_SOURCES:
        raise InvalidError(
            f"too many addresses or prefixes: {len(decap.at)} of --decap-at, {len(decap.sources)} of --decap-from",
            hint=f"give at most {MOST_ENDS} and {MOST_SOURCES}",
        )
    return decap
