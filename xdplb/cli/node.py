# SPDX-License-Identifier: Apache-2.0
"""`xdplb node`: the balancers that serve the same VIPs; taking this one out of service, and back."""

from __future__ import annotations

from pathlib import Path

import click

from xdplb.client import Client, ConflictError, TimedOutError
from xdplb.client.bodies import NodeDrainIn, NodeDrainOut, NodeOut

from .changes import Change, changing
from .completion import node_names
from .groups import Group
from .layout import Output, chosen_output
from .output import Column, coloured, moment, note, print_fields, print_json, table
from .params import (
    Connection,
    duration,
    duration_text,
    local_output_option,
    output_option,
    pin_dir_option,
    positive_duration,
)
from .watching import watchable

__all__ = ["command"]

_QUIET_SECONDS = 3.0  # the default of the API's quiet_seconds; a shorter --timeout shortens it
_TO_END_SECONDS = 30.0
"""How long after the timeout the daemon may take to end the drain."""

_DIGITS = 16
"""How many of a digest's 64 are shown, unless with -o wide."""

_COLUMNS = [
    Column("NODE"),
    Column("STATE", style=coloured),
    Column("READY", style=coloured),
    Column("STATE EQUAL", style=coloured),
    Column("BACKENDS OUT", right=True),
    Column("SHARE", right=True),
    Column("PEER", style=coloured),
    Column("SINCE", wide=True),
    Column("VERSION", wide=True),
    Column("GENERATION", right=True, wide=True),
    Column("HEARD", wide=True),
    Column("REASON", text=20),
]


@click.group(cls=Group, name="node", short_help="The balancers; taking this one out of service.")
def command() -> None:
    """Show the balancers, called nodes, that serve the same VIPs; drain this one before maintenance."""


@command.command(epilog="\b\nExamples:\n  xdplb node ls\n  xdplb node ls -o json")
@output_option
@watchable
@click.pass_obj
def ls(connection: Connection, as_json: bool) -> None:
    """List the nodes that this one knows, itself first."""
    answer = connection.client().nodes.list()
    if as_json:
        print_json(answer.body)
        return
    table(_COLUMNS, [_row(node) for node in answer.json()["nodes"]])


@command.command(epilog="\b\nExamples:\n  xdplb node show\n  xdplb node show lb2 -o json")
@click.argument("name", metavar="[NODE]", required=False, shell_complete=node_names)
@output_option
@watchable
@click.pass_obj
def show(connection: Connection, name: str | None, as_json: bool) -> None:
    """Show a node: this one, if none is named."""
    client = connection.client()
    answer = client.nodes.get(name or _this(client)["name"])
    if as_json:
        print_json(answer.body)
        return
    node = answer.json()
    print_fields(
        [
            ("node", f"{node['name']} (this one)" if node["this_node"] else node["name"]),
            ("state", f"{node['state']} since {moment(node['since'])}"),
            ("ready", _yes_or_no(node["ready"])),
            ("reason", "; ".join(node["not_ready"]) or None),
            ("version", node["version"]),
            ("generation", f"{node['generation']} (in the data plane: {node['observed_generation']})"),
            ("same VIPs and backends", _yes_or_no(node["digest_equal"])),
            ("digest", _digest_text(node["digest"])),
            ("VIPs", ", ".join(f"{count} {status}" for status, count in node["vips"].items()) or None),
            ("backends", f"{node['backends']}, of which {node['backends_out']} are not up"),
            ("same health", _yes_or_no(node["health_equal"])),
            ("traffic", _traffic_text(node)),
            ("API", node["url"]),
            ("peers", node["peer"]),
            ("records go to it", _yes_or_no(node["peer_up"])),
            ("last heard", None if node["last_heard"] is None else moment(node["last_heard"])),
            ("drain", None if node["drain"] is None else _drain_text(node["drain"])),
        ]
    )


@command.command(
    short_help="Take this node out of service, before maintenance.",
    epilog="""\b
Examples:
  xdplb node drain
  xdplb node drain --wait --timeout 2m""",
)
@click.option("--wait", is_flag=True, help="Return when it is drained: exit 0, or 5 if packets still come then.")
@click.option(
    "--timeout",
    metavar="TIME",
    default="1m",
    show_default=True,
    callback=positive_duration,
    help="After this time it is drained, although packets still come.",
)
@click.option(
    "--quiet",
    type=duration,
    metavar="TIME",
    help="How long no packet for any VIP must have come. Default: 3s, or the timeout if that is less.",
)
@changing()
def drain(change: Change, /, *, wait: bool, timeout: float, quiet: float | None) -> None:
    """Take this node out of service, before maintenance: routers and keepalived send it nothing more.

    VIPs are announced with metric 100, and no more when packets for them have stopped. It stays drained over restarts,
    until `xdplb node undrain`.
    """
    name = _this(change.client)["name"]
    times: NodeDrainIn = {
        "timeout_seconds": timeout,
        "quiet_seconds": min(_QUIET_SECONDS, timeout) if quiet is None else quiet,
    }
    answer = change.client.nodes.drain(name, times, **change.how)
    if change.dry_run or not wait:
        change.tell(answer, f"node {name} is draining")
        return
    from .drain_wait import wait_until_over

    def look(within: float) -> str:
        nonlocal answer
        answer = change.client.nodes.get(name, within=within)
        return _left(answer.json(), name)

    goes_on = f"the drain of node {name} continues; end it with: xdplb node undrain"
    left = wait_until_over(f"node {name}", look, timeout + _TO_END_SECONDS, cut=False, goes_on=goes_on)
    if left:
        raise TimedOutError(f"node {name} is not drained: {left}", hint="see xdplb node show, and the daemon's log")
    drained = answer.json()["drain"]
    change.tell(answer, f"node {name} is drained")
    if drained is not None and drained["timed_out"]:
        raise TimedOutError(
            f"node {name} is drained, but packets for its VIPs still came after {duration_text(timeout)}",
            hint="what still comes is forwarded; see that routers have another way: docs/ha.md",
        )


@command.command(epilog="\b\nExamples:\n  xdplb node undrain")
@changing()
def undrain(change: Change, /) -> None:
    """Let this node serve again."""
    this = _this(change.client)
    answer = change.client.nodes.undrain(this["name"], **change.how)
    what = "is serving" if this["state"] == "serving" else "is serving again"
    change.tell(answer, f"node {this['name']} {what}")


@command.command(
    short_help="Withdraw what a daemon that has ended still announces.",
    epilog="""\b
Examples:
  sudo xdplb node withdraw
  sudo xdplb node withdraw --force""",
)
@click.option("--force", is_flag=True, help="Also if `xdplb up` had no --on-daemon-loss withdraw.")
@pin_dir_option
@local_output_option
def withdraw(force: bool, pin_dir: Path, as_json: bool) -> None:
    """Withdraw what a daemon that has ended still announces, if `up` had --on-daemon-loss withdraw.

    For ExecStopPost= of a systemd unit: it also runs when the daemon was killed. Exit 4 if the daemon runs.
    """
    from xdplb.daemon.announced import withdraw_of_lost

    done, why_not = withdraw_of_lost(pin_dir, force=force)
    if as_json:
        print_json({"removed": list(done), "reason": why_not})
        return
    for what in done:
        note(f"removed: {what}")
    if not done:
        note(why_not or "nothing is announced")


def _this(client: Client) -> NodeOut:
    """Return the node that is asked."""
    return client.nodes.list().json()["nodes"][0]


def _left(node: NodeOut, name: str) -> str:
    """Return what is left of a drain, nothing if it has ended."""
    drain = node["drain"]
    if drain is None:
        raise ConflictError(f"the drain of node {name} was cancelled", hint="somebody has undrained it")
    if drain["ended"] is not None:
        return ""
    rate = drain["packets_per_second"]
    return "packets are not counted yet" if rate is None else f"{rate:.0f} packets a second"


def _row(node: NodeOut) -> tuple[object, ...]:
    share = node["share"]
    return (
        node["name"],
        node["state"],
        _yes_or_no(node["ready"]),
        _yes_or_no(node["digest_equal"]),
        f"{node['backends_out']}/{node['backends']}",
        None if share is None else f"{share:.0%}",
        None if node["peer_up"] is None else "up" if node["peer_up"] else "down",
        moment(node["since"]),
        node["version"],
        node["generation"],
        None if node["last_heard"] is None else moment(node["last_heard"]),
        "; ".join(node["not_ready"]),
    )


def _yes_or_no(value: bool | None) -> str | None:
    return None if value is None else "yes" if value else "no"


def _digest_text(digest: str | None) -> str | None:
    return digest if digest is None or chosen_output.get() is Output.WIDE else f"{digest[:_DIGITS]}…"


def _traffic_text(node: NodeOut) -> str:
    share = node["share"]
    packets, connections = node["packets_per_second"], node["connections_per_second"]
    of_all = "" if share is None else f"{share:.0%} of all: "
    return f"{of_all}{packets:g} packets and {connections:g} new connections a second"


def _drain_text(drain: NodeDrainOut) -> str:
    rate = drain["packets_per_second"]
    packets = "" if rate is None else f", {rate:.0f} packets a second"
    if drain["ended"] is None:
        return f"until {moment(drain['deadline'])} at most{packets}"
    how = "packets still came" if drain["timed_out"] else f"no packet had come for {drain['quiet_seconds']:g} s"
    return f"ended {moment(drain['ended'])}: {how}"
