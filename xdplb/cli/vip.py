"""`xdplb vip`: the addresses that clients talk to."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import click

from xdplb.model.errors import InvalidError, NotFoundError
from xdplb.model.vip import AllUnhealthy, Forward, HashKind, OnUnhealthy, Tracking, Vip, VipKey

from .changes import Change, changing
from .check_options import check_body, check_options
from .client import Client, vip_path
from .groups import Group
from .output import Column, note, print_fields, print_json, state, table
from .params import Connection, duration, duration_text, output_option, vip_argument

__all__ = ["command", "print_vips", "vip_text"]

_COLUMNS = [
    Column("VIP"),
    Column("NAME"),
    Column("FORWARD"),
    Column("STATUS", style=state),
    Column("SERVING", right=True),
    Column("TRACKING"),
    Column("GENERATION", right=True),
]


@click.group(cls=Group, name="vip", short_help="The addresses that clients talk to.")
def command() -> None:
    """Add, change, remove and show VIPs, written 203.0.113.10:443/tcp or by name."""


_DEFAULTS = Vip(VipKey.parse("192.0.2.1:1/tcp"))


def _words(kind: type[StrEnum]) -> click.Choice[str]:
    return click.Choice([word.value for word in kind])


def _policy_options(function: Any) -> Any:
    """Add the options that `add` and `set` share; None where not given. In brackets is what a new VIP has."""
    for option in reversed(
        [
            click.option(
                "--forward",
                type=_words(Forward),
                help=f"How packets reach the backends.  [{_DEFAULTS.forward}]",
            ),
            click.option(
                "--tracking",
                type=_words(Tracking),
                help=f"Which flows are recorded.  [{_DEFAULTS.tracking}]",
            ),
            click.option(
                "--hash",
                "hash_",
                type=_words(HashKind),
                help=f"What chooses the backend.  [{_DEFAULTS.hash}]",
            ),
            click.option(
                "--on-unhealthy",
                type=_words(OnUnhealthy),
                help=f"What becomes of open connections of a backend that fails.  [{_DEFAULTS.on_unhealthy}]",
            ),
            click.option(
                "--all-unhealthy",
                type=_words(AllUnhealthy),
                help=f"With no healthy backend: use those that failed, or drop.  [{_DEFAULTS.all_unhealthy}]",
            ),
            click.option(
                "--idle-timeout",
                type=duration,
                metavar="TIME",
                help="The longest silence of a connection that changes bridge.  "
                f"[{duration_text(_DEFAULTS.idle_timeout_seconds)}]",
            ),
        ]
    ):
        function = option(function)
    return function


def _policy(given: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of a VIP's body that options were given for."""
    fields = {"hash" if key == "hash_" else key: value for key, value in given.items() if value is not None}
    if "idle_timeout" in fields:
        fields["idle_timeout_seconds"] = _whole_seconds(fields.pop("idle_timeout"))
    return fields


def _whole_seconds(seconds: float) -> int:
    if seconds != int(seconds):
        raise InvalidError(f"--idle-timeout is {seconds:g} s", hint="give whole seconds, such as 90s or 15m")
    return int(seconds)


@command.command(
    epilog="""\b
Examples:
  xdplb vip add 203.0.113.10:443/tcp --forward dr
  xdplb vip add 203.0.113.10:53/udp --name dns --forward ipip --tracking always
  xdplb vip add 203.0.113.10:80/tcp --check http --check-path /healthz"""
)
@vip_argument
@click.option("--name", help="A name to call it by: a-z, 0-9 and -.")
@_policy_options
@check_options("check-")
@changing()
def add(change: Change, /, *, vip: str, **given: Any) -> None:
    """Add a VIP. It is dr and has no health check unless said otherwise.

    With --check its backends get no traffic before their first passed check.
    """
    key = VipKey.parse(vip)
    check = check_body("check-", given)
    body = {"address": str(key.address), "port": key.port, "protocol": key.protocol.value, **_policy(given)}
    change.create("/v1/vips", body, f"VIP {key}")
    if check is None:
        return
    if change.dry_run:
        note(f"its health check ({check['type']}) would be set then")
    else:
        change.client.change("PUT", vip_path(vip, "health-check"), check)


@command.command(
    name="set",
    epilog="""\b
Examples:
  xdplb vip set 203.0.113.10:443/tcp --all-unhealthy fail-closed
  xdplb vip set web --idle-timeout 30m""",
)
@vip_argument
@click.option("--name", help="A name to call it by; '' takes the name away.")
@_policy_options
@changing(conditional=True)
def set_(change: Change, /, *, vip: str, **given: Any) -> None:
    """Change a VIP. Open connections stay where they are, except with --hash: that gives each another slot."""
    fields = _policy(given)
    if fields.get("name") == "":
        fields["name"] = None
    if not fields:
        raise click.UsageError("nothing to change: give an option, such as --forward ipip")
    change.update("PATCH", vip_path(vip), fields, f"VIP {vip}")


@command.command(
    short_help="Remove a VIP with its backends.",
    epilog="\b\nExamples:\n  xdplb vip rm 203.0.113.10:443/tcp\n  xdplb vip rm web --dry-run",
)
@vip_argument
@changing(conditional=True)
def rm(change: Change, /, *, vip: str) -> None:
    """Remove a VIP with its backends: its packets go to the host's own stack from then on."""
    change.remove(vip_path(vip), f"VIP {vip}")


@command.command(epilog="\b\nExamples:\n  xdplb vip ls\n  xdplb vip ls -o json")
@output_option
@click.pass_obj
def ls(connection: Connection, as_json: bool) -> None:
    """List the VIPs."""
    answer = connection.client().get("/v1/vips")
    if as_json:
        print_json(answer.body)
    else:
        print_vips(answer.json()["vips"])


def print_vips(vips: list[dict[str, Any]]) -> None:
    """Print VIPs of the API as a table."""
    table(
        _COLUMNS,
        [
            (
                vip_text(vip),
                vip["name"],
                vip["forward"],
                vip["status"]["operating_status"],
                f"{vip['status']['backends_serving']}/{vip['status']['backends']}",
                vip["tracking"],
                vip["generation"],
            )
            for vip in vips
        ],
    )


def vip_text(vip: dict[str, Any]) -> str:
    """Return a VIP of the API as people write it."""
    return f"{vip['address']}:{vip['port']}/{vip['protocol']}"


@command.command(epilog="\b\nExamples:\n  xdplb vip show 203.0.113.10:443/tcp\n  xdplb vip show web -o json")
@vip_argument
@output_option
@click.pass_obj
def show(connection: Connection, vip: str, as_json: bool) -> None:
    """Show one VIP: what was asked and how it is doing."""
    client = connection.client()
    answer = client.get(vip_path(vip))
    if as_json:
        print_json(answer.body)
        return
    body = answer.json()
    status, slots = body["status"], body["status"]["slots"]
    print_fields(
        [
            ("vip", vip_text(body)),
            ("name", body["name"]),
            ("status", status["operating_status"]),
            ("backends", f"{status['backends_serving']} of {status['backends']} serving"),
            ("health-check", _check_text(client, vip)),
            ("forward", body["forward"]),
            ("scheduler", body["scheduler"]),
            ("tracking", body["tracking"]),
            ("hash", body["hash"]),
            ("on-unhealthy", body["on_unhealthy"]),
            ("all-unhealthy", body["all_unhealthy"]),
            ("idle-timeout", duration_text(body["idle_timeout_seconds"])),
            ("slots", f"{slots['steady']} steady, {slots['moving']} moving, {slots['pinned']} pinned"),
            ("generation", f"{body['generation']} (in the data plane: {status['observed_generation']})"),
        ]
    )


def _check_text(client: Client, vip: str) -> str:
    """Return the health check of a VIP in a few words."""
    try:
        check = client.get(vip_path(vip, "health-check")).json()
    except NotFoundError:
        return "none: its backends count as up"
    words = [check["type"], check["path"] if check["type"] == "http" else ""]
    words += [f"port {check['port']}" if check["port"] else "", f"every {duration_text(check['interval_seconds'])}"]
    return " ".join(filter(None, words))
