# SPDX-License-Identifier: Apache-2.0
"""What is announced: does anybody read the routes, are they xdplb's alone, and does a VIP serve that they lead to."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xdplb.model.announcing import MAIN_TABLE
from xdplb.model.errors import XdplbError
from xdplb.net.route_facts import RouteFacts, route_facts

from .finding import Finding, fail, ok, warn

__all__ = ["Reader", "examine_announcing", "examine_hashing", "readers"]

_CHECK = "announcing"
_FIX = "docs/ha.md has ready configurations"
_READERS = {"bird": "BIRD", "bird6": "BIRD", "zebra": "FRR", "exabgp": "ExaBGP", "gobgpd": "GoBGP"}
_ASK_SECONDS = 5
_BIRD_CONFIG = "/etc/bird/bird.conf"
_INCLUDE = re.compile(r'^\s*include\s+"([^"]+)"\s*;', re.MULTILINE)
_COMMENT = re.compile(r"#[^\n]*|/\*.*?\*/", re.DOTALL)

Ask = Callable[[Sequence[str]], str]
"""Runs a command that only reads, and returns what it says; OSError or SubprocessError if it cannot."""


@dataclass(frozen=True, slots=True)
class Reader:
    """A routing daemon that runs in this network namespace, with the words of its command line."""

    name: str
    pid: int
    words: tuple[str, ...]

    def option(self, *names: str) -> str | None:
        """Return the value of an option of its command line, None if it is not given."""
        for place, word in enumerate(self.words):
            if word in names and place + 1 < len(self.words):
                return self.words[place + 1]
            for name in names:
                if word.startswith(f"{name}="):
                    return word.partition("=")[2]
        return None


def readers(proc: Path = Path("/proc")) -> list[Reader]:
    """Return the routing daemons of this network namespace."""
    own = (proc / "thread-self/ns/net").stat().st_ino
    found = []
    for process in proc.glob("[0-9]*"):
        try:
            name = _READERS.get((process / "comm").read_text().strip())
            if name is not None and (process / "ns/net").stat().st_ino == own:
                words = (process / "cmdline").read_bytes().decode(errors="replace").split("\0")
                found.append(Reader(name, int(process.name), tuple(filter(None, words))))
        except OSError:  # it has ended, or is another user's
            continue
    return sorted(found, key=lambda reader: reader.pid)


def examine_announcing(
    node: Mapping[str, Any],
    vips: Sequence[Mapping[str, Any]],
    *,
    found: Sequence[Reader],
    facts: Callable[[int, int], RouteFacts] = route_facts,
    ask: Ask | None = None,
) -> Iterator[Finding]:
    """Yield what is wrong with what the daemon announces, which says of itself what `node` has."""
    if node["state"] != "serving":
        yield warn("node", f"{node['name']} is {node['state']}", "xdplb node undrain, when the maintenance is over")
    asking = [vip for vip in vips if vip["status"].get("announced") is not None]
    table, protocol = node.get("announce_table"), node.get("announce_protocol")
    if not asking or table is None or protocol is None:
        return
    yield from _unread(table, found, ask or _ask)
    try:
        seen = facts(table, protocol)
    except XdplbError as error:
        yield warn(_CHECK, error.detail, error.hint)
    else:
        yield from _shared(table, protocol, seen)
    for vip in asking:
        yield from _serving(vip)


def _unread(table: int, found: Sequence[Reader], ask: Ask) -> Iterator[Finding]:
    """Yield whether a routing daemon reads the table, as far as that can be told."""
    if not found:
        yield fail(
            _CHECK, f"nobody reads table {table}: no BIRD, FRR or other BGP daemon runs here", f"start one: {_FIX}"
        )
        return
    faults = [fault for reader in found if (fault := _fault_of(reader, table, ask)) is not None]
    if len(faults) < len(found):
        names = ", ".join(dict.fromkeys(reader.name for reader in found))
        yield ok(_CHECK, f"table {table}: {names} runs here")
        return
    for detail, fix in faults:
        yield fail(_CHECK, detail, fix)


def _fault_of(reader: Reader, table: int, ask: Ask) -> tuple[str, str] | None:
    """Return why a daemon does not read the table, and what to do; None if it does, or if that cannot be told."""
    if reader.name == "BIRD":
        return _fault_of_bird(reader, table)
    if reader.name == "FRR":
        return _fault_of_frr(reader, table, ask)
    return None


def _fault_of_bird(reader: Reader, table: int) -> tuple[str, str] | None:
    path = Path("/proc", str(reader.pid), "root") / (reader.option("-c") or _BIRD_CONFIG).lstrip("/")
    text = _bird_config(path)
    if text is None or table == MAIN_TABLE:
        return None
    if not re.search(rf"\bkernel\s+table\s+{table}\b", text):
        return (f"BIRD (pid {reader.pid}) has no protocol for table {table}", f"kernel table {table}; learn; {_FIX}")
    if not re.search(r"\blearn\b", text):
        return (f"BIRD (pid {reader.pid}) does not learn the routes of others in table {table}", f"learn; {_FIX}")
    return None


def _bird_config(path: Path, depth: int = 0) -> str | None:
    """Return a configuration of BIRD without comments, with what it includes; None if it cannot be read."""
    try:
        text = _COMMENT.sub("", path.read_text(errors="replace"))
    except OSError:
        return None
    if depth < 4:
        for pattern in _INCLUDE.findall(text):
            base = path.parent
            for other in sorted(base.glob(pattern.removeprefix(f"{base}/").lstrip("/"))):
                text += _bird_config(other, depth + 1) or ""
    return text


def _fault_of_frr(reader: Reader, table: int, ask: Ask) -> tuple[str, str] | None:
    socket = reader.option("--vty_socket")
    pathspace = reader.option("-N", "--pathspace")
    words = ["vtysh", *(["--vty_socket", socket] if socket else []), *(["-N", pathspace] if pathspace else [])]
    try:
        config = ask([*words, "-c", "show running-config"])
    except (OSError, subprocess.SubprocessError):
        return None
    if "router bgp" not in config:
        return (f"FRR (zebra, pid {reader.pid}) has no router bgp", _FIX)
    return _missing_of_main(config) if table == MAIN_TABLE else _missing_of_table(config, table)


def _missing_of_main(config: str) -> tuple[str, str] | None:
    if "redistribute kernel" in config:
        return None
    return ("FRR does not redistribute the kernel's routes", f"redistribute kernel; {_FIX}")


def _missing_of_table(config: str, table: int) -> tuple[str, str] | None:
    """Return what FRR lacks to announce a table other than main; `table-direct` is of FRR 10."""
    if f"redistribute table-direct {table}" in config:
        return None
    if not re.search(rf"^ip import-table {table}\b", config, re.MULTILINE):
        return (f"FRR does not import table {table}", f"ip import-table {table}; {_FIX}")
    if not re.search(rf"^\s+redistribute table {table}\b", config, re.MULTILINE):
        return (f"FRR imports table {table}, but redistributes it to nobody", f"redistribute table {table}; {_FIX}")
    return None


def _ask(words: Sequence[str]) -> str:
    return subprocess.run(words, capture_output=True, text=True, check=True, timeout=_ASK_SECONDS).stdout


def _shared(table: int, protocol: int, seen: RouteFacts) -> Iterator[Finding]:
    if seen.elsewhere:
        some = ", ".join(seen.elsewhere[:3])
        yield warn(
            _CHECK,
            f"another program uses protocol {protocol}, too: {some}",
            "give xdplb another --announce-protocol, or that program",
        )
    if seen.others and table != MAIN_TABLE:
        yield warn(
            _CHECK,
            f"table {table} also has routes of others, such as {seen.others[0]}",
            "a filter of the BGP daemon must tell them apart; or give xdplb a table of its own: --announce-table",
        )
    if seen.rules and table != MAIN_TABLE:
        yield warn(
            _CHECK,
            f"a rule looks into table {table} ({seen.rules[0]}): packets for VIPs that XDP passes on are dropped there",
            "ip rule shows it; give xdplb another --announce-table if the rule is not for xdplb",
        )


def _serving(vip: Mapping[str, Any]) -> Iterator[Finding]:
    status = vip["status"]
    if status["announced"]["metric"] is not None and not status["backends_serving"]:
        name = vip["name"] or f"{vip['address']}:{vip['port']}/{vip['protocol']}"
        yield warn(
            f"VIP {name}",
            f"it is announced, and no backend serves (announce is {vip['announce']})",
            "xdplb backend ls says why; with --announce healthy its route would be withdrawn",
        )


def examine_hashing(has_multipath: Callable[[int], bool], settings: Path = Path("/proc/sys/net")) -> Iterator[Finding]:
    """Yield whether a host that routes to several next hops chooses them by ports, so that connections spread."""
    for family, name in ((4, "ipv4"), (6, "ipv6")):
        try:
            policy = (settings / name / "fib_multipath_hash_policy").read_text().strip()
        except OSError:  # the kernel has no such setting
            continue
        if policy == "0" and has_multipath(family):
            yield warn(
                f"ECMP ({name})",
                "this host has routes by several next hops, and chooses one by addresses alone",
                f"sysctl -w net.{name}.fib_multipath_hash_policy=1: then also by ports",
            )
