# SPDX-License-Identifier: Apache-2.0
"""The options that `xdplb vip add` and `set` share, and the fields of a VIP's body that they set."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import Any, TypeVar

import click

from xdplb.model.dns import DNS_TTL_RANGE, DNS_TTL_SECONDS
from xdplb.model.errors import InvalidError
from xdplb.model.min_serving import MinServing
from xdplb.model.numbers import decimal_of, whole_of
from xdplb.model.vip import (
    CONFIG_ID_RANGE,
    LARGEST_RATE,
    PANIC_SHARE_HINT,
    SERVER_ID_BYTES_RANGE,
    AllUnhealthy,
    Announce,
    Forward,
    HashKind,
    OnUnhealthy,
    Passive,
    Scheduler,
    Sync,
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
        *_health_options(),
        *_cluster_options(),
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
            help="What maglev hashes: addresses and ports, the client's address, the port it asks, or both addresses.  "
            f"[{_DEFAULTS.hash}]",
        ),
        click.option(
            "--on-unhealthy",
            type=_words(OnUnhealthy),
            help=f"What happens to open connections of a backend that fails.  [{_DEFAULTS.on_unhealthy}]",
        ),
        click.option(
            "--all-unhealthy",
            type=_words(AllUnhealthy),
            help="If no backend is healthy: use those that failed, drop, use those that served last, or refuse "
            "at once.  "
            f"[{_DEFAULTS.all_unhealthy}]",
        ),
        click.option(
            "--vlan",
            type=_words(VlanTags),
            help=f"The VLAN tags of forwarded frames: those of the route, or those they came with.  [{_DEFAULTS.vlan}]",
        ),
        click.option(
            "--nat-direct",
            metavar="PREFIX|off",
            multiple=True,
            help="A network that NAT backends answer from their own addresses; give it once for each.  [off]",
        ),
    ]


def _health_options() -> list[Callable[[_Command], _Command]]:
    return [
        click.option(
            "--min-serving",
            type=_min_serving,
            metavar="N|N%",
            help=f"With fewer primary backends serving, backups serve.  [{_DEFAULTS.min_serving}]",
        ),
        click.option(
            "--passive",
            type=_words(Passive),
            help=f"What is done with what packets show of the backends' health.  [{_DEFAULTS.passive}]",
        ),
        click.option(
            "--syn-failover/--no-syn-failover",
            default=None,
            help="Let a SYN that is sent again go to another backend if its own is suspect or down.  [no]",
        ),
        click.option(
            "--panic-share",
            type=_share,
            metavar="SHARE|off",
            help="With a smaller share of healthy backends than this, such as 0.5, use all of them.  [off]",
        ),
        click.option(
            "--slow-start",
            type=duration,
            metavar="TIME",
            help="How long a backend that comes up takes to get its share of new connections.  [0s]",
        ),
    ]


def _cluster_options() -> list[Callable[[_Command], _Command]]:
    return [
        click.option(
            "--announce",
            type=_words(Announce),
            help=f"When a route for it is there, which a BGP daemon tells the routers.  [{_DEFAULTS.announce}]",
        ),
        click.option(
            "--sync",
            type=_words(Sync),
            help=f"Which flow records go to the peers: those of moving slots, or all.  [{_DEFAULTS.sync}]",
        ),
        click.option(
            "--dns-name",
            metavar="NAME|off",
            help="The DNS name that its address is entered under while it serves.  [off]",
        ),
        click.option("--dns-zone", metavar="ZONE", help="The zone of this name."),
        click.option("--dns-server", metavar="ADDRESS[:PORT]", help="The primary server of the zone."),
        click.option("--dns-key-file", metavar="FILE", help="The file with the TSIG key, on each balancer."),
        click.option(
            "--dns-ttl",
            type=Whole(*DNS_TTL_RANGE),
            metavar="N",
            help=f"How many seconds resolvers keep the address.  [{DNS_TTL_SECONDS}]",
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


def _min_serving(text: str) -> int | str:
    number = whole_of(text)
    try:
        return MinServing.of(text if number is None else number).value
    except InvalidError as error:
        raise click.BadParameter(f"{text!r}: {error.hint}") from None


def _share(text: str) -> float:
    share = 0.0 if text == _OFF else decimal_of(text)
    if share is None or not 0 <= share <= 1:
        raise click.BadParameter(f"{text!r}: {PANIC_SHARE_HINT}")
    return share


def policy(given: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of a VIP's body for the options that were given."""
    fields = {"hash" if key == "hash_" else key: value for key, value in given.items() if value is not None}
    if "idle_timeout" in fields:
        fields["idle_timeout_seconds"] = _whole_seconds("--idle-timeout", fields.pop("idle_timeout"))
    if "slow_start" in fields:
        fields["slow_start_seconds"] = _whole_seconds("--slow-start", fields.pop("slow_start"))
    limits = {name.removeprefix("limit_"): fields.pop(name) for name in list(fields) if name.startswith("limit_")}
    if limits:
        fields["limits"] = limits
    quic = {name.removeprefix("quic_"): fields.pop(name) for name in list(fields) if name.startswith("quic_")}
    if quic:
        fields["quic"] = None if quic.get("server_id_bytes") == _OFF else quic
    direct = fields.pop("nat_direct", ())
    if direct:
        fields["nat_direct"] = [] if _OFF in direct else list(direct)
    dns = {name.removeprefix("dns_"): fields.pop(name) for name in list(fields) if name.startswith("dns_")}
    if dns:
        fields["dns"] = None if dns.get("name") == _OFF else dns
    return fields


def _whole_seconds(option: str, seconds: float) -> int:
    if seconds != int(seconds):
        raise InvalidError(f"{option} is {seconds:g} s", hint="give whole seconds, such as 90s or 15m")
    return int(seconds)
