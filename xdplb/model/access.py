"""Which sources a VIP takes packets from."""

from __future__ import annotations

from dataclasses import dataclass

from .address import IPNetwork

__all__ = ["AccessList"]


@dataclass(frozen=True, slots=True)
class AccessList:
    """Source prefixes allowed and denied. The longest prefix that holds a source decides; of equal ones, deny.

    A source that none holds is denied where `allow` has a prefix, else allowed.
    """

    allow: tuple[IPNetwork, ...] = ()
    deny: tuple[IPNetwork, ...] = ()
