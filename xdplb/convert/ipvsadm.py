# SPDX-License-Identifier: Apache-2.0
"""The output of `ipvsadm -S -n`, which `ipvsadm -R` reads."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from xdplb.model.errors import InvalidError
from xdplb.model.key import Protocol
from xdplb.model.numbers import whole_of
from xdplb.model.vip import Forward, VipKey

from .ipvs import DEFAULT_SCHEDULER, Forwarding, Said, forwarding_of, schedule
from .notes import ConvertError, Notes, Where
from .service import Real, Service

__all__ = ["read"]

_LONG = {
    "add-service": "A", "add-server": "a", "tcp-service": "t", "udp-service": "u", "fwmark-service": "f",
    "real-server": "r", "scheduler": "s", "persistent": "p", "netmask": "M", "sched-flags": "b", "weight": "w",
    "u-threshold": "x", "l-threshold": "y", "gatewaying": "g", "ipip": "i", "masquerading": "m", "ops": "o",
    "ipv6": "6", "clear": "C", "numeric": "n",
}  # fmt: skip
_WITH_VALUE = {*"tufrsMbwxy", "sctp-service", "pe", "tun-type", "tun-port"}
_MAYBE_WITH_VALUE = {"p"}
_COMMANDS = {"A", "a", "C"}
_HINT = "give the output of: ipvsadm -S -n"


@dataclass
class _Line:
    """A line: its options by their short names, where there is one."""

    where: Where
    text: str
    options: dict[str, str] = field(default_factory=dict)


def read(text: str, file: str, notes: Notes) -> list[Service]:
    """Return the services in the output of `ipvsadm -S -n`. What belongs to none is told in `notes`.

    Raises ConvertError if it is something else.
    """
    services: dict[str, Service | None] = {}
    for line in _lines(text, file):
        command = next((name for name in line.options if name in _COMMANDS), None)
        named = _named(line)
        if command == "A" and named in services:
            notes.left_out(line.where, line.text, "a line before it has the same service")
        elif command == "A" and named:
            services[named] = _service(line, notes)
        elif command == "a" and named:
            if named not in services:
                raise ConvertError.at(line.where, "its service has no line before it: -A and the same service")
            if (service := services[named]) is not None:
                service.reals.append(_real(line, service))
            else:
                notes.left_out(line.where, line.text, "its service is left out")
        elif command != "C":
            notes.left_out(line.where, line.text, "only -A and -a describe services")
    found = [service for service in services.values() if service is not None]
    for service in found:
        forwards = [real.forward for real in service.reals if real.forward is not None]
        if forwards:
            service.forward = Counter(forwards).most_common(1)[0][0]  # of equals, the first
    return found


def _lines(text: str, file: str) -> Iterator[_Line]:
    for number, raw in enumerate(text.splitlines(), 1):
        where = Where(file, number)
        try:
            words = shlex.split(raw, comments=True)
        except ValueError as error:
            raise ConvertError.at(where, f"it cannot be read: {error}") from None
        if words[:1] == ["ipvsadm"]:
            del words[0]
        if words and words[0].startswith("-"):
            name = words[0].lstrip("-")
            is_read = _LONG.get(name, name) in _COMMANDS
            yield _Line(where, " ".join(words), dict(_options(words, where)) if is_read else {})
        elif words:
            raise ConvertError.at(where, f"{words[0]!r} is no command of ipvsadm", _HINT)


def _options(words: list[str], where: Where) -> Iterator[tuple[str, str]]:
    left = list(words)
    while left:
        given = left.pop(0)
        name, equals, value = given.partition("=")
        if not name.startswith("-") or name == "-":
            raise ConvertError.at(where, f"{given!r} is no option of ipvsadm", _HINT)
        name = name.lstrip("-")
        name = _LONG.get(name, name)
        if name in _WITH_VALUE and not equals:
            if not left:
                raise ConvertError.at(where, f"{given} has no value")
            value = left.pop(0)
        elif name in _MAYBE_WITH_VALUE and not equals and left and not left[0].startswith("-"):
            value = left.pop(0)
        yield name, value


def _named(line: _Line) -> str:
    """Return what identifies the service of a line, empty if it names none."""
    for option in ("t", "u", "sctp-service", "f"):
        if option in line.options:
            family = "6" if option == "f" and "6" in line.options else ""
            return f"{option} {line.options[option]}{family}"
    return ""


def _service(line: _Line, notes: Notes) -> Service | None:
    options = line.options
    if "f" in options or "sctp-service" in options:
        why = (
            "a VIP is an address, ports and a protocol: write one [[vips]] for what the mark stands for"
            if "f" in options
            else "xdplb balances TCP and UDP"
        )
        notes.left_out(line.where, line.text, why)
        return None
    protocol = Protocol.TCP if "t" in options else Protocol.UDP
    address, port = _address(options.get("t") or options["u"], line.where)
    try:
        key = VipKey.of(address, port or 0, protocol)
    except InvalidError as error:
        notes.left_out(line.where, line.text, f"{error.detail}; {error.hint}")
        return None
    own = Notes()
    flags = [Said(line.where, flag) for flag in options.get("b", "").split(",") if flag]
    persistence = Said(line.where, f"-p {options['p']}".strip()) if "p" in options else None
    scheduler = Said(line.where, options.get("s", DEFAULT_SCHEDULER))
    settings = schedule(scheduler, flags, persistence, own)
    for name, why in _SERVICE_WITHOUT.items():
        if name in options and not (name == "M" and options[name] in {"255.255.255.255", "128"}):
            own.left_out(line.where, f"{_option_text(name)} {options[name]}".strip(), why)
    _tell_unknown(line, {*"AtusbpMo6n", "pe"}, own)
    return Service(line.where, [key], dict(settings), Forward.DR, notes=own)


_SERVICE_WITHOUT = {
    "M": "clients are told apart by their whole addresses",
    "pe": "there are no persistence engines",
    "o": "datagrams of a client are not spread: those of a flow stay with its slot's backend",
}
_REAL_WITHOUT = {
    "x": "there are no thresholds: limits.new_flows limits the whole VIP",
    "y": "there are no thresholds: limits.new_flows limits the whole VIP",
}


def _real(line: _Line, service: Service) -> Real:
    options, notes = line.options, service.notes
    if "r" not in options:
        raise ConvertError.at(line.where, "it names no real server: -r is missing")
    address, port = _address(options["r"], line.where)
    if "m" in options:
        forwarding = Forwarding("nat")
    elif "i" in options:
        checksum = next((name for name in ("csum", "remcsum") if f"tun-{name}" in options), "nocsum")
        tunnel_port = whole_of(options.get("tun-port", ""))
        forwarding = Forwarding("tun", options.get("tun-type", "ipip"), tunnel_port, checksum)
    else:
        forwarding = Forwarding("dr")
    for name, why in _REAL_WITHOUT.items():
        if options.get(name, "0") != "0":
            notes.left_out(line.where, f"{_option_text(name)} {options[name]}", why)
    tunnels = {"tun-type", "tun-port", "tun-nocsum", "tun-csum", "tun-remcsum"}
    _tell_unknown(line, {*"aturgimwxyn6", *tunnels}, notes)
    return Real(
        line.where,
        line.text,
        address,
        port,
        _weight(options.get("w", "1"), line.where),
        forwarding_of(line.where, line.text, forwarding, notes),
    )


def _weight(text: str, where: Where) -> int:
    weight = whole_of(text)
    if weight is None:
        raise ConvertError.at(where, f"{text!r} is not a weight")
    return weight


def _tell_unknown(line: _Line, known: set[str], notes: Notes) -> None:
    for name in line.options:
        if name not in known:
            notes.left_out(line.where, _option_text(name), "this option is not known")


def _option_text(name: str) -> str:
    return f"-{name}" if len(name) == 1 else f"--{name}"


def _address(text: str, where: Where) -> tuple[str, int | None]:
    """Return an address and its port, None if it has none."""
    host, colon, port = text.rpartition(":")
    if (text.startswith("[") and text.endswith("]")) or not colon or (":" in host and not host.startswith("[")):
        host, colon, port = text, "", ""
    number = whole_of(port) if colon else None
    if colon and (number is None or number > 65535):
        raise ConvertError.at(where, f"{port!r} is not a port", "ipvsadm -S -n prints numbers; without -n, names")
    return host.strip("[]"), number
