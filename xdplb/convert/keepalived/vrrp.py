# SPDX-License-Identifier: Apache-2.0
"""What a keepalived.conf says about VRRP: which addresses it holds, and what makes it give them up. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from xdplb.convert.notes import Notes
from xdplb.model.address import IPAddress, parse_address
from xdplb.model.errors import InvalidError

from .blocks import Statement, statements_of
from .lines import Reader

__all__ = ["Vrrp", "VrrpInstance", "read_vrrp"]

_ADDRESSES = {"virtual_ipaddress", "virtual_ipaddress_excluded"}
_TRACKED = {"track_file": {"track_file", "vrrp_track_file"}, "track_script": {"vrrp_script"}}


@dataclass(frozen=True, slots=True)
class VrrpInstance:
    """A `vrrp_instance`. `faults` are the track_files and track_scripts that have no weight, so that they stop it."""

    name: str
    interface: str
    addresses: tuple[IPAddress, ...]
    tracks: frozenset[str]
    """What it follows besides NICs: names of track_files, track_scripts and track_processes."""

    faults: frozenset[str]
    by_weight: frozenset[str]
    uses_vmac: bool
    sends_from_base: bool
    never_preempts: bool
    preempts_late: bool


@dataclass(frozen=True, slots=True)
class Vrrp:
    """The instances of a file, the paths of its track_files by their names, and whether it also configures IPVS."""

    instances: tuple[VrrpInstance, ...]
    track_files: dict[str, str]
    has_virtual_servers: bool


def read_vrrp(text: str, file: str, *, config_id: str, open_file: Callable[[str], str]) -> Vrrp:
    """Return what a keepalived.conf says of VRRP. Parameters and errors are those of `read` in file.py."""
    statements = statements_of(Reader(config_id, open_file, Notes()).lines(file, text))
    tracked = _Tracked(statements)
    return Vrrp(
        tuple(_instance(each, tracked) for each in statements if each.name == "vrrp_instance"),
        tracked.files,
        any(each.name == "virtual_server" for each in statements),
    )


class _Tracked:
    """The definitions of what may be tracked: paths of files, and the weights that instances do not set themselves."""

    def __init__(self, statements: list[Statement]) -> None:
        self.files: dict[str, str] = {}
        self._weights: dict[tuple[str, str], int] = {}
        for each in statements:
            for kind, keywords in _TRACKED.items():
                if each.name in keywords:
                    self._weights[kind, each.value] = _number(_last(each, "weight"))
                    if kind == "track_file":
                        self.files[each.value] = _last(each, "file")

    def weight(self, kind: str, statement: Statement) -> int:
        """Return the weight of a line in an instance's block `kind`: its own, or that of the definition."""
        words = statement.words
        if "weight" in words[:-1]:
            return _number(words[words.index("weight") + 1])
        return self._weights.get((kind, statement.name), 0)


def _instance(statement: Statement, tracked: _Tracked) -> VrrpInstance:
    block = statement.block or []
    weights = {
        inner.name: tracked.weight(each.name, inner)
        for each in block
        if each.name in _TRACKED
        for inner in each.block or []
    }
    processes = {inner.name for each in block if each.name == "track_process" for inner in each.block or []}
    named = {each.name for each in block}
    return VrrpInstance(
        statement.value,
        _last(statement, "interface"),
        tuple(_addresses(block)),
        tracks=frozenset(weights.keys() | processes),
        faults=frozenset(name for name, weight in weights.items() if weight == 0),
        by_weight=frozenset(name for name, weight in weights.items() if weight),
        uses_vmac="use_vmac" in named,
        sends_from_base="vmac_xmit_base" in named,
        never_preempts="nopreempt" in named,
        preempts_late="preempt_delay" in named,
    )


def _addresses(block: list[Statement]) -> Iterator[IPAddress]:
    """Yield the virtual addresses. What keepalived would not take either is left out."""
    for each in block:
        for inner in each.block or [] if each.name in _ADDRESSES else []:
            try:
                yield parse_address(inner.name.partition("/")[0])
            except InvalidError:
                continue


def _last(statement: Statement, name: str) -> str:
    """Return the value of the last line of this name in a block, empty if there is none."""
    return next((each.value for each in reversed(statement.block or []) if each.name == name), "")


def _number(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        return 0
