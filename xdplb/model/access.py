# SPDX-License-Identifier: Apache-2.0
"""Which sources a VIP accepts packets from."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from .address import IPNetwork
from .prefixes import Prefixes

__all__ = ["AccessList"]


@dataclass(frozen=True, slots=True, init=False)
class AccessList:
    """The allowed and denied source prefixes, of one family. The longest that matches decides; of equal ones, deny.

    A source that none of them matches is denied if `allow` has a prefix, else allowed.
    """

    allow: Prefixes
    deny: Prefixes

    def __init__(self, allow: Iterable[IPNetwork] = (), deny: Iterable[IPNetwork] = ()) -> None:
        object.__setattr__(self, "allow", Prefixes.of(allow))
        object.__setattr__(self, "deny", Prefixes.of(deny))

    @classmethod
    def parse(cls, allow: Sequence[str], deny: Sequence[str], family: int) -> AccessList:
        """Return the list for a VIP of IP version `family`. InvalidError points to the prefix, such as `/deny/17`."""
        return cls(Prefixes.parse(allow, family, "/allow"), Prefixes.parse(deny, family, "/deny"))

    @property
    def version(self) -> int:
        """The IP version of its prefixes; it has no meaning if there are none."""
        return (self.allow or self.deny).version

    def __bool__(self) -> bool:
        return bool(self.allow or self.deny)
