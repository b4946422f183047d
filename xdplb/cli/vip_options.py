"""The options that `xdplb vip add` and `set` share, and the fields of a VIP's body that they set."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import Any, TypeVar

import click

from xdplb.model.errors import InvalidError
from xdplb.model.numbers import whole_of
from xdplb.model.vip import (
    CONFIG_ID_RANGE,
    LARGEST_RATE,
    SERVER_ID_BYTES_RANGE,
    AllUnhealthy,
    Forward,
    HashKind,
    OnUnhealthy,
    Scheduler,
    Tracking,
    Vip,
    VipKey,
    VlanTags,
)

from .params import Whole, duration, duration_text

__all__ = ["policy", "policy_options"]

_Command = TypeVar("_Command", bound=Callable[..., object])

_DEFAULTS = Vip(VipKey.parse("192.0.2.1:1/tcp"))
_OFF = "off"


def policy_options(command: _Command) -> _Command:
    """Add the options. One that is not given is None; the help has a new VIP's default in brackets."""
    for option in reversed(_options()):
        command = option(command)
    return command


def _options() -> list[Callable[[_Command], _Command]]:
    return [
        *_word_options(),
        click.option(
            "--idle-timeout",
            type=duration,
            metavar="TIME",
            help="Changes keep connections that are silent for no longer than this.  "
            f"[{duration_text(_DEFAULTS.idle_timeout_seconds)}]",
        ),
        click.option(
            "--quic-server-id-bytes",
            type=_server_id_bytes,
            metavar="N|off",
            help="UDP: route by the server ID in QUIC connection IDs, which has this many bytes.  [off]",
        ),
        click.option(
            "--quic-config-id",
            type=Whole(*CONFIG_ID_RANGE),
            help="The upper 3 bits of the first byte of these connection IDs.  [0]",
        ),
        _limit("packets", "packets"),
        _limit("new-flows", "new TCP connections"),
        _limit("source-packets", "packets from one source"),
        _limit("source-new-flows", "new TCP connections from one source"),
    ]


def _word_options() -> list[Callable[[_Command], _Command]]:
    return [
        click.option(
            "--forward",
            type=_words(Forward),
            help=f"How packets reach the backends.  [{_DEFAULTS.forward}]",
        ),
        click.option(
            "--scheduler",
            type=_words(Scheduler),
            help="What chooses the backend of a new connection: a hash (maglev, sh), rotation (rr, wrr) or load "
            f"(lc, wlc, p2c).  [{_DEFAULTS.scheduler}]",
        ),
        click.option(
            "--tracking",
            type=_words(Tracking),
            help=f"Which flows are recorded.  [{_DEFAULTS.tracking}; always with rotation or load]",
        ),
        click.option(
            "--hash",
            "hash_",
            type=_words(HashKind),
            help=f"What maglev hashes.  [{_DEFAULTS.hash}]",
        ),
        click.option(
            "--on-unhealthy",
            type=_words(OnUnhealthy),
            help=f"What happens to open connections of a backend that fails.  [{_DEFAULTS.on_unhealthy}]",
        ),
        click.option(
            "--all-unhealthy",
            type=_words(AllUnhealthy),
            help=f"If no backend is healthy: use those that failed, or drop.  [{_DEFAULTS.all_unhealthy}]",
        ),
        click.option(
            "--vlan",
            type=_words(VlanTags),
            help=f"The VLAN tags of forwarded frames: those of the route, or those they came with.  [{_DEFAULTS.vlan}]",
        ),
    ]


def _words(kind: type[StrEnum]) -> click.Choice[str]:
    return click.Choice([word.value for word in kind])


def _limit(name: str, what: str) -> Callable[[_Command], _Command]:
    return click.option(
        f"--limit-{name}",
        type=Whole(0, LARGEST_RATE),
        metavar="N",
        help=f"Drop {what} beyond N per second; 0: no limit.  [0]",
    )


def _server_id_bytes(text: str) -> int | str:
    low, high = SERVER_ID_BYTES_RANGE
    if text == _OFF:
        return text
    number = whole_of(text)
    if number is not None and low <= number <= high:
        return number
    raise click.BadParameter(f"{text!r} is neither a number from {low} to {high} nor {_OFF}")


def policy(given: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of a VIP's body for the options that were given."""
    fields = {"hash" if key == "hash_" else key: value for key, value in given.items() if value is not None}
    if "idle_timeout" in fields:
        fields["idle_timeout_seconds"] = _whole_seconds(fields.pop("idle_timeout"))
    limits = {name.removeprefix("limit_"): fields.pop(name) for name in list(fields) if name.startswith("limit_")}
    if limits:
        fields["limits"] = limits
    quic = {name.removeprefix("quic_"): fields.pop(name) for name in list(fields) if name.startswith("quic_")}
    if quic:
        fields["quic"] = None if quic.get("server_id_bytes") == _OFF else quic
    return fields


def _whole_seconds(seconds: float) -> int:
    if seconds != int(seconds):
        raise InvalidError(f"--idle-timeout is {seconds:g} s", hint="give whole seconds, such as 90s or 15m")
    return int(seconds)
