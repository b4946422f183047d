# SPDX-License-Identifier: Apache-2.0
"""`xdplb health`: the health checks of VIPs and their results."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import click

from xdplb.client.bodies import CheckOfVipOut, CheckResultOut, HealthCheckIn, HealthCheckOut, ProbesOut
from xdplb.model.check_type import FIELDS_OF
from xdplb.model.errors import NotFoundError
from xdplb.model.health import CheckType, Target, probed_address
from xdplb.model.key import VipKey
from xdplb.model.numbers import whole_of

from .changes import Change, changing
from .check_options import check_body, check_options
from .completion import backend_names, check_names, vip_argument, vip_names
from .groups import Group
from .output import Column, coloured, line, moment, print_fields, print_json, table
from .params import Connection, duration_text, output_option
from .watching import watchable

__all__ = ["command"]

_COLUMNS = [
    Column("CHECK"),
    Column("BACKEND"),
    Column("HEALTH", style=coloured),
    Column("LATEST"),
    Column("TOOK", right=True),
    Column("RECENT"),
    Column("ASKS", wide=True),
    Column("AT", wide=True),
    Column("PASSES", right=True, wide=True),
    Column("FAILURES", right=True, wide=True),
    Column("REASON", text=20),
]
_SIGNS = {True: "+", False: "-", None: "?"}


@click.group(cls=Group, name="health", short_help="The health checks of VIPs.")
def command() -> None:
    """Set, add, remove and show the health checks of VIPs. If a VIP has several, all of them must pass."""


@command.command(
    name="set",
    epilog="""\b
Examples:
  xdplb health set 203.0.113.10:80/tcp --type http --path /healthz --interval 1s
  xdplb health set web --type https --sni www.example.com --verify --expect-status 200-299
  xdplb health set cache --type tcp --send 'PING\\r\\n' --expect +PONG
  xdplb health set dns --type dns --query-name www.example.com --query-type A
  xdplb health set web --type tcp --timeout 500ms --rise 2 --fall 3""",
)
@vip_argument
@check_options()
@changing(conditional=True)
def set_(change: Change, /, *, vip: str, **given: Any) -> None:
    """Set the check of a VIP. It replaces the whole check: options that are not given get their defaults.

    A VIP with several checks is refused: see xdplb health add and rm.
    """
    check, client = cast("HealthCheckIn", check_body("", given)), change.client
    change.update(
        lambda: client.checks.put(vip, check, **change.how),
        f"health check of {vip}",
        of=lambda: client.vips.get(vip),
        done=("set", "is unchanged"),
    )


@command.command(
    short_help="Add a check beside those that a VIP has.",
    epilog="""\b
Examples:
  xdplb health add web --type http --path /healthz --name app
  xdplb health add web --type agent --port 8080
  xdplb health add web --type exec --command '/usr/lib/xdplb/check-db --fast'""",
)
@vip_argument
@check_options()
@changing(conditional=True)
def add(change: Change, /, *, vip: str, **given: Any) -> None:
    """Add a check beside those that a VIP has. Those keep their results."""
    check, client = cast("HealthCheckIn", check_body("", given)), change.client
    known = client.checks.of(vip)
    checks = [*_as_sent(known.json()["checks"]), check]
    how = change.how | {"if_generation": change.if_generation or known.generation}
    change.update(
        lambda: client.checks.put_all(vip, {"checks": checks}, **how),
        f"health check of {vip}",
        of=lambda: client.vips.get(vip),
        done=("added", "is unchanged"),
    )


@command.command(
    short_help="Remove checks of a VIP.",
    epilog="\b\nExamples:\n  xdplb health rm 203.0.113.10:80/tcp\n  xdplb health rm web app\n  xdplb health rm web 2",
)
@vip_argument
@click.argument("check", metavar="[CHECK]", required=False, shell_complete=check_names)
@changing(conditional=True)
def rm(change: Change, /, *, vip: str, check: str | None) -> None:
    """Remove the checks of a VIP, or one of them. From the last one on, all its backends count as up.

    CHECK is what `xdplb health ls` calls it, or its number from 1.
    """
    client = change.client
    if check is None:
        change.remove(lambda: client.checks.delete_all(vip, **change.how), f"health checks of {vip}")
        return
    known = client.checks.of(vip)
    checks = known.json()["checks"]
    place = _place(vip, check, [each["label"] for each in checks])
    left = _as_sent([each for number, each in enumerate(checks) if number != place])
    how = change.how | {"if_generation": change.if_generation or known.generation}
    answer = change.made(client.checks.put_all(vip, {"checks": left}, **how))
    change.tell(answer, f"health check {check} of {vip} removed")


def _as_sent(checks: Sequence[HealthCheckOut]) -> list[HealthCheckIn]:
    """Return checks that were read as they are sent back."""
    return cast("list[HealthCheckIn]", checks)


def _place(vip: str, check: str, labels: Sequence[str]) -> int:
    """Return the place of the check that is called so, or has this number from 1."""
    number = whole_of(check)
    if check in labels:
        return labels.index(check)
    if number is not None and 1 <= number <= len(labels):
        return number - 1
    raise NotFoundError(
        f"VIP {vip} has no health check {check}", hint=f"it has {', '.join(labels)}" if labels else "it has none"
    )


@command.command(epilog="\b\nExamples:\n  xdplb health show 203.0.113.10:80/tcp -o json")
@vip_argument
@output_option
@watchable
@click.pass_obj
def show(connection: Connection, vip: str, as_json: bool) -> None:
    """Show the checks of a VIP: what is configured."""
    answer = connection.client().checks.of(vip)
    if as_json:
        print_json(answer.body)
        return
    checks = answer.json()["checks"]
    if not checks:
        raise NotFoundError(f"VIP {vip} has no health check", hint="see xdplb health set")
    for number, check in enumerate(checks):
        if number:
            click.echo()
        has = FIELDS_OF[CheckType(check["type"])]
        asked = {
            field: value for field, value in check.items() if field in has and (value is not None or field == "port")
        }
        print_fields(
            [(field.replace("_seconds", "").replace("_", "-"), _shown(field, value)) for field, value in asked.items()]
        )


def _shown(field: str, value: object) -> object:
    if isinstance(value, (int, float)) and field.endswith("_seconds"):
        return duration_text(value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return (" " if field == "command" else ", ").join(map(str, value))
    if isinstance(value, dict):
        return ", ".join(f"{name}: {text}" for name, text in value.items()) or None
    return "the VIP's" if field == "port" and value is None else value


@command.command(
    short_help="List the results of the checks for each backend.",
    epilog="\b\nExamples:\n  xdplb health ls\n  xdplb health ls 203.0.113.10:80/tcp\n  xdplb health ls web -o json",
)
@click.argument("vip", metavar="[VIP]", required=False, shell_complete=vip_names)
@output_option
@watchable
@click.pass_obj
def ls(connection: Connection, vip: str | None, as_json: bool) -> None:
    """List the results of the checks for each backend, of a VIP or of all VIPs.

    RECENT are the last results, the latest one first: + passed, - failed, ? could not be run.
    """
    client = connection.client()
    if vip is None:
        found = client.checks.all()
        if as_json:
            print_json(found.body)
            return
        results = found.json()["checks"]
        table([Column("VIP"), *_COLUMNS], [(one["vip"], *_row(one["check"], one, one["recent"])) for one in results])
        return
    answer = client.checks.of(vip)
    if as_json:
        print_json(answer.body)
        return
    table(
        _COLUMNS,
        [
            _row(check["label"], result, "".join(_SIGNS[one["passed"]] for one in result["recent"]))
            for check in answer.json()["checks"]
            for result in check["status"]["backends"]
        ],
    )


def _row(label: str, result: CheckResultOut | CheckOfVipOut, recent: str) -> tuple[object, ...]:
    return (
        label,
        result["backend"],
        result["health"],
        {True: "passed", False: "failed", None: None}[result["last_passed"]],
        None if result["last_seconds"] is None else _milliseconds(result["last_seconds"]),
        recent,
        result["asks"],
        None if result["last_run"] is None else moment(result["last_run"]),
        result["passes"],
        result["failures"],
        result["reason"],
    )


_STEPS = [Column("STEP"), Column("AT", right=True), Column("WHAT CAME OF IT", text=30)]
_PASSED = {True: "passed", False: "failed", None: "not run"}


@command.command(
    short_help="Run the checks of backends once, and show each step.",
    epilog="""\b
Examples:
  xdplb health probe 203.0.113.10:80/tcp
  xdplb health probe web 10.0.0.11 -o json""",
)
@vip_argument
@click.argument("address", required=False, shell_complete=backend_names)
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
    vip = probed_address(VipKey.parse(body["vip"]))
    for number, backend in enumerate(body["backends"]):
        if number:
            click.echo()
        if not backend["checks"]:
            line(f"{backend['backend']}: it is not checked")
        for turn, each in enumerate(backend["checks"]):
            if turn:
                click.echo()
            port = f" port {each['port']}" if each["port"] else ""
            by_vip = each["target"] == Target.VIP.value
            place = f"{vip}{port} on {backend['backend']}" if by_vip else backend["backend"] + port
            line(f"{backend['backend']}: {each['check']}, to {place}: {_PASSED[each['passed']]}")
            result = (_PASSED[each["passed"]], _milliseconds(each["seconds"]), each["reason"])
            steps = [(step["name"], _milliseconds(step["seconds"]), step["text"]) for step in each["steps"]]
            table(_STEPS, [*steps, result])


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:.1f} ms"
