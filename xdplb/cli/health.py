"""`xdplb health`: the health check of a VIP and its results."""

from __future__ import annotations

from typing import Any, cast

import click

from xdplb.client.bodies import HealthCheckIn, ProbesOut
from xdplb.model.health import CheckType, Target

from .changes import Change, changing
from .check_options import check_body, check_options
from .groups import Group
from .output import Column, coloured, line, moment, print_fields, print_json, table
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


_STEPS = [Column("STEP"), Column("AT", right=True), Column("WHAT CAME OF IT")]
_PASSED = {True: "passed", False: "failed", None: "not run"}


@command.command(
    short_help="Run the checks of backends once, and show each step.",
    epilog="""\b
Examples:
  xdplb health probe 203.0.113.10:80/tcp
  xdplb health probe web 10.0.0.11 -o json""",
)
@vip_argument
@click.argument("address", required=False)
@output_option
@click.pass_obj
def probe(connection: Connection, vip: str, address: str | None, as_json: bool) -> None:
    """Run all checks of the backends of VIP now, or of the one with this ADDRESS, and show each step with its time.

    Nobody's health changes. It exits with 1 if a check did not pass.
    """
    answer = connection.client().checks.probe(vip, address)
    body = answer.json()
    if as_json:
        print_json(answer.body)
    else:
        _print_probes(body)
    if not body["passed"]:
        raise SystemExit(1)


def _print_probes(body: ProbesOut) -> None:
    for number, backend in enumerate(body["backends"]):
        if number:
            click.echo()
        if not backend["checks"]:
            line(f"{backend['backend']}: it is not checked")
        for each in backend["checks"]:
            port = f" port {each['port']}" if each["port"] else ""
            place = body["vip"] if each["target"] == Target.VIP.value else backend["backend"] + port
            by_vip = f" at {backend['backend']}" if each["target"] == Target.VIP.value else ""
            line(f"{backend['backend']}: {each['check']}, to {place}{by_vip}: {_PASSED[each['passed']]}")
            result = (_PASSED[each["passed"]], _milliseconds(each["seconds"]), each["reason"])
            steps = [(step["name"], _milliseconds(step["seconds"]), step["text"]) for step in each["steps"]]
            table(_STEPS, [*steps, result])


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:.1f} ms"
