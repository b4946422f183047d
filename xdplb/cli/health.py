"""`xdplb health`: the health check of a VIP and its results."""

from __future__ import annotations

from typing import Any, cast

import click

from xdplb.client.bodies import HealthCheckIn
from xdplb.model.health import CheckType

from .changes import Change, changing
from .check_options import check_body, check_options
from .groups import Group
from .output import Column, coloured, moment, print_fields, print_json, table
from .params import Connection, duration_text, output_option, vip_argument

__all__ = ["command"]

_COLUMNS = [
    Column("BACKEND"),
    Column("HEALTH", style=coloured),
    Column("SINCE"),
    Column("LATEST"),
    Column("TOOK", right=True),
    Column("PASSES", right=True),
    Column("FAILURES", right=True),
    Column("REASON"),
]

_HTTP_ONLY = ("path", "expect_status")


@click.group(cls=Group, name="health", short_help="The health check of a VIP.")
def command() -> None:
    """Set, remove and show the health check of a VIP."""


@command.command(
    name="set",
    epilog="""\b
Examples:
  xdplb health set 203.0.113.10:80/tcp --type http --path /healthz --interval 1s
  xdplb health set web --type tcp --timeout 500ms --rise 2 --fall 3""",
)
@vip_argument
@check_options()
@changing(conditional=True)
def set_(change: Change, /, *, vip: str, **given: Any) -> None:
    """Set the check of a VIP. It replaces the whole check: options that are not given get their defaults."""
    check, client = cast("HealthCheckIn", check_body("", given)), change.client
    change.update(
        lambda: client.checks.put(vip, check, **change.how),
        f"health check of {vip}",
        of=lambda: client.vips.get(vip),
        done=("set", "is unchanged"),
    )


@command.command(short_help="Remove the check of a VIP.", epilog="\b\nExamples:\n  xdplb health rm 203.0.113.10:80/tcp")
@vip_argument
@changing(conditional=True)
def rm(change: Change, /, *, vip: str) -> None:
    """Remove the check of a VIP. From then on all its backends count as up."""
    change.remove(lambda: change.client.checks.delete(vip, **change.how), f"health check of {vip}")


@command.command(epilog="\b\nExamples:\n  xdplb health show 203.0.113.10:80/tcp -o json")
@vip_argument
@output_option
@click.pass_obj
def show(connection: Connection, vip: str, as_json: bool) -> None:
    """Show the check of a VIP."""
    answer = connection.client().checks.get(vip)
    if as_json:
        print_json(answer.body)
        return
    body = answer.json()
    hidden = {"status"} if body["type"] == CheckType.HTTP.value else {"status", *_HTTP_ONLY}
    asked = {field: value for field, value in body.items() if field not in hidden}
    print_fields(
        [(field.replace("_seconds", "").replace("_", "-"), _shown(field, value)) for field, value in asked.items()]
    )


def _shown(field: str, value: object) -> object:
    if isinstance(value, (int, float)) and field.endswith("_seconds"):
        return duration_text(value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return "the VIP's" if field == "port" and value is None else value


@command.command(epilog="\b\nExamples:\n  xdplb health ls 203.0.113.10:80/tcp")
@vip_argument
@output_option
@click.pass_obj
def ls(connection: Connection, vip: str, as_json: bool) -> None:
    """List the results of the check for each backend of a VIP."""
    answer = connection.client().checks.get(vip)
    if as_json:
        print_json(answer.body)
        return
    table(
        _COLUMNS,
        [
            (
                check["backend"],
                check["health"],
                moment(check["since"]),
                {True: "passed", False: "failed", None: None}[check["last_passed"]],
                None if check["last_seconds"] is None else f"{check['last_seconds'] * 1000:.1f} ms",
                check["passes"],
                check["failures"],
                check["reason"],
            )
            for check in answer.json()["status"]["backends"]
        ],
    )
