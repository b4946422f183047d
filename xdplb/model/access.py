"""Which sources a VIP takes packets from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from .address import IPNetwork, parse_network
from .errors import InvalidError

__all__ = ["AccessList"]


@dataclass(frozen=True, slots=True)
class AccessList:
    """Source prefixes allowed and denied. The longest prefix that holds a source decides; of equal ones, deny.

    A source that none holds is denied where `allow` has a prefix, else allowed. Each prefix is there once, in order.
    """

    allow: tuple[IPNetwork, ...] = ()
    deny: tuple[IPNetwork, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "allow", _in_order(self.allow))
        object.__setattr__(self, "deny", _in_order(self.deny))

    @classmethod
    def parse(cls, allow: Iterable[str], deny: Iterable[str], family: int) -> AccessList:
        """Return the list for a VIP of IPv`family`; InvalidError names the prefix by its place, such as `/deny/17`.

        Hundreds of thousands take seconds.
        """
        return cls(tuple(_parsed(allow, family, "/allow")), tuple(_parsed(deny, family, "/deny")))

    def __bool__(self) -> bool:
        return bool(self.allow or self.deny)


def _parsed(texts: Iterable[str], family: int, pointer: str) -> Iterator[IPNetwork]:
    for place, text in enumerate(texts):
        prefix = parse_network(text, f"{pointer}/{place}")
        if prefix.version != family:
            raise InvalidError.field(
                f"{pointer}/{place}",
                f"no packet to this VIP comes from {prefix}: the VIP is of IPv{family}",
                hint=f"give prefixes of IPv{family}",
            )
        yield prefix


def _in_order(prefixes: tuple[IPNetwork, ...]) -> tuple[IPNetwork, ...]:
    return tuple(sorted(set(prefixes), key=_order))


def _order(prefix: IPNetwork) -> tuple[int, int, int]:
    return prefix.version, int(prefix.network_address), prefix.prefixlen
