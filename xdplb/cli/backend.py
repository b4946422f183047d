# SPDX-License-Identifier: Apache-2.0
"""`xdplb backend`: the hosts behind a VIP."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, TypeVar, cast

import click

from xdplb.client import Answer
from xdplb.client.bodies import (
    AllBackendsOut,
    BackendIn,
    BackendListOut,
    BackendOut,
    BackendPatch,
    BackendStatusOut,
    CertificateOut,
    DrainIn,
    DrainOut,
    PathErrorsOut,
)
from xdplb.model.backend import BackendRole, parse_backend_address
from xdplb.model.vip import LARGEST_RATE, Forward

from .backend_nodes import print_nodes_of_vip
from .changes import Change, changing
from .completion import backend_names, place_names, vip_argument, vip_names
from .groups import Group
from .layout import Output, chosen_output
from .node_generations import NODES, nodes_cell, sharing_nodes
from .output import Column, coloured, moment, percent, print_fields, print_json, table
from .params import (
    AnyWhole,
    Connection,
    OrNone,
    Whole,
    duration,
    duration_text,
    output_option,
)
from .watching import watchable

__all__ = ["command"]

_Command = TypeVar("_Command", bound=Callable[..., object])

_FORWARDS = [forward.value for forward in Forward]
_QUIET_SECONDS = 10.0  # the default of the API's quiet_seconds; a shorter --timeout shortens it

_COLUMNS = [
    Column("BACKEND"),
    Column("WEIGHT", right=True),
    Column("ADMIN", style=coloured),
    Column("HEALTH", style=coloured),
    Column("SHARE", right=True),
    Column("FLOWS", right=True),
    Column("FORWARD", wide=True),
    Column("INTERFACE", wide=True),
    Column("MAC", wide=True),
    Column("ROLE", wide=True),
    Column("MAX-NEW/s", right=True, wide=True),
    Column("HANDSHAKE p50", right=True, wide=True),
    Column("p99", right=True, wide=True),
    Column("REASON", text=20),
]
"""The times of handshakes are from a client's SYN to its answer to the SYN-ACK."""

_REMOVABLE = ("quic_server_id", "check_port", "check_path", "port")  # the word none takes them away


def _health_options(command: _Command) -> _Command:
    """Add the options of when a backend serves and how it is checked. One that is not given is None."""
    for option in (
        click.option(
            "--check-path", metavar="PATH|none", help="The path that checks request of it; none: the checks' own."
        ),
        click.option(
            "--check-port",
            type=OrNone(Whole(1, 65535)),
            metavar="N|none",
            help="The port that checks use for it; none: the checks' own.",
        ),
        click.option(
            "--checked/--not-checked",
            default=None,
            help="Whether the VIP's checks are run for it; if not, it counts as up.",
        ),
        click.option(
            "--max-new-flows",
            type=Whole(0, LARGEST_RATE),
            metavar="N",
            help="New TCP connections that it takes a second; what is over goes to another backend. 0: any number.",
        ),
        click.option(
            "--port",
            type=OrNone(Whole(1, 65535)),
            metavar="N|none",
            help="With nat, its port that serves the VIP's, or the first one of its range; none: the same port.",
        ),
        click.option(
            "--role",
            type=click.Choice([role.value for role in BackendRole]),
            help="backup: it serves only while fewer than min-serving primary backends do.",
        ),
    ):
        command = option(command)
    return command


@click.group(cls=Group, name="backend", short_help="The hosts behind a VIP; draining them.")
def command() -> None:
    """Add, change, drain, remove and show the backends of a VIP."""


def _backend_arguments(function: _Command) -> _Command:
    return vip_argument(click.argument("address", metavar="ADDRESS", shell_complete=backend_names)(function))


@command.command(
    epilog="""\b
Examples:
  xdplb backend add 203.0.113.10:443/tcp 10.0.0.11
  xdplb backend add web 10.0.0.12 --weight 2 --forward ipip
  xdplb backend add web 10.0.0.13 --forward nat --port 8080
  xdplb backend add '[2001:db8::10]:443/udp' 2001:db8:1::11 --forward gue --quic-server-id 00a7"""
)
@vip_argument
@click.argument("address", metavar="ADDRESS")
@click.option(
    "--weight",
    type=AnyWhole(),
    default=1,
    show_default=True,
    help="Its share of the new connections, relative to the other weights; 0: none.",
)
@click.option("--forward", type=click.Choice(_FORWARDS), help="How packets reach it, if different from its VIP.")
@click.option(
    "--admin-state",
    type=click.Choice(["ready", "maint"]),
    default="ready",
    show_default=True,
    help="maint: add it, but send it no packets yet.",
)
@click.option(
    "--quic-server-id", metavar="HEX", help="The server ID in the QUIC connection IDs that it issues, such as 00a7."
)
@_health_options
@changing()
def add(change: Change, /, *, vip: str, address: str, **given: Any) -> None:
    """Add a backend. If its VIP has a health check, it gets no packets before its first passed checks."""
    body = {"address": address, **{name: value for name, value in given.items() if value is not None}}
    body |= {name: None for name in _REMOVABLE if body.get(name) == "none"}
    parse_backend_address(address)  # at once, and with the same words where no daemon runs
    answer = change.client.backends.create(vip, cast("BackendIn", body), **change.how)
    change.create(answer, f"backend {address} of {vip}")


@command.command(
    name="set",
    epilog="""\b
Examples:
  xdplb backend set 203.0.113.10:443/tcp 10.0.0.11 --weight 3
  xdplb backend set web 10.0.0.11 --admin-state maint
  xdplb backend set web 10.0.0.11 --admin-state ready""",
)
@_backend_arguments
@click.option(
    "--weight", type=AnyWhole(), help="Its share of the new connections; 0: none, and it keeps the open ones."
)
@click.option(
    "--forward", type=click.Choice([*_FORWARDS, "vip"]), help="How packets reach it; vip: as set for its VIP."
)
@click.option(
    "--admin-state",
    type=click.Choice(["ready", "maint"]),
    help="maint: send it no packets, which breaks open connections; ready: use it again. See also backend drain.",
)
@click.option(
    "--quic-server-id",
    metavar="HEX|none",
    help="The server ID in the QUIC connection IDs that it issues; none removes it.",
)
@_health_options
@changing(conditional=True)
def set_(change: Change, /, *, vip: str, address: str, **given: Any) -> None:
    """Change a backend. A new weight affects new connections only."""
    body = {name: value for name, value in given.items() if value is not None}
    if not body:
        raise click.UsageError("nothing to change: give an option, such as --weight 2")
    if body.get("forward") == "vip":
        body["forward"] = None
    body |= {name: None for name in _REMOVABLE if body.get(name) == "none"}
    backends = change.client.backends
    change.update(
        lambda: backends.patch(vip, address, cast("BackendPatch", body), **change.how),
        f"backend {address} of {vip}",
        of=lambda: backends.get(vip, address),
    )


_all_vips_option = click.option(
    "--all-vips", is_flag=True, help="In all VIPs that have this backend, in one step; give its address only."
)


def _some_or_all(function: _Command) -> _Command:
    """Add the arguments VIP ADDRESS, of which --all-vips leaves the first out."""
    return click.argument("places", metavar="[VIP] ADDRESS", nargs=-1, required=True, shell_complete=place_names)(
        _all_vips_option(function)
    )


def _place(places: tuple[str, ...], *, all_vips: bool) -> tuple[str, str]:
    """Return the VIP and the address that are given; with --all-vips, no VIP."""
    if len(places) != (1 if all_vips else 2):
        raise click.UsageError("give ADDRESS alone with --all-vips" if all_vips else "give VIP and ADDRESS")
    return ("", places[0]) if all_vips else (places[0], places[1])


@command.command(
    epilog="""\b
Examples:
  xdplb backend drain 203.0.113.10:443/tcp 10.0.0.11
  xdplb backend drain web 10.0.0.11 --wait --timeout 10m
  xdplb backend drain --all-vips 10.0.0.11 --wait --timeout 5m --cut-at-deadline"""
)
@_some_or_all
@click.option("--wait", is_flag=True, help="Return when no connection is left (exit 0) or at the timeout (exit 5).")
@click.option(
    "--timeout",
    type=duration,
    metavar="TIME",
    default="10m",
    show_default=True,
    help="How long to wait for the connections to end. None is cut at the timeout, unless you say so.",
)
@click.option(
    "--cut-at-deadline",
    is_flag=True,
    help="At the timeout, send it no packets any more, unless it is drained before: what is left goes to other backends"
    ", which reset it.",
)
@click.option(
    "--quiet",
    type=duration,
    metavar="TIME",
    help="How long to watch at least before it counts as drained: an idle connection is only seen when it sends. With "
    "QUIC: how long without any packet. Default: 10s, or the timeout if that is less.",
)
@changing()
def drain(
    change: Change,
    /,
    *,
    places: tuple[str, ...],
    all_vips: bool,
    wait: bool,
    timeout: float,
    cut_at_deadline: bool,
    quiet: float | None,
) -> None:
    """Send a backend no new connections and let its open ones end.

    With --wait, the drain's certificate is printed: how many connections there were, and what became of them.
    Interrupting --wait does not stop the drain; `xdplb backend undrain` cancels it.
    """
    vip, address = _place(places, all_vips=all_vips)
    times: DrainIn = {
        "timeout_seconds": timeout,
        "quiet_seconds": min(_QUIET_SECONDS, timeout) if quiet is None else quiet,
    }
    if cut_at_deadline:
        times["cut_at_deadline"] = True
    if all_vips:
        from .host_drain import drain_everywhere

        drain_everywhere(change, address, times, wait=wait)
    else:
        _drain_one(change, vip, address, times, wait=wait)


def _drain_one(change: Change, vip: str, address: str, times: DrainIn, *, wait: bool) -> None:
    """Drain a backend of one VIP, and wait for that if it is asked for."""
    answer = change.made(change.client.backends.drain(vip, address, times, **change.how))
    what = f"backend {address} of {vip}"
    if change.dry_run or not wait:
        change.tell(answer, f"{what} is draining")
        return
    from .drain_wait import wait_for_drain

    waited = wait_for_drain(
        change.client, vip, address, times["timeout_seconds"], cut=times.get("cut_at_deadline", False)
    )
    if waited.answer is not None:
        _tell_drained(change, waited.answer, what, is_late=waited.late is not None)
    if waited.late is not None:
        raise waited.late


def _tell_drained(change: Change, answer: Answer[BackendOut], what: str, *, is_late: bool) -> None:
    """Print the certificate, and say that the backend is drained unless it is not; or print the answer as JSON."""
    from .drain_wait import is_cut

    status = answer.json()["status"]
    certificate = status.get("certificate")  # an older daemon has none
    if not change.as_json and certificate is not None:
        from .certificate import print_certificate

        print_certificate(certificate)
    end = "is cut off: it gets no packets any more" if is_cut(status) else "is drained: no connection is left"
    if change.as_json or not is_late:
        change.tell(answer, f"{what} {end}")


@command.command(
    epilog="""\b
Examples:
  xdplb backend undrain 203.0.113.10:443/tcp 10.0.0.11
  xdplb backend undrain --all-vips 10.0.0.11"""
)
@_some_or_all
@changing()
def undrain(change: Change, /, *, places: tuple[str, ...], all_vips: bool) -> None:
    """Cancel a drain: the backend gets new connections again."""
    vip, address = _place(places, all_vips=all_vips)
    if all_vips:
        from .host_drain import undrain_everywhere

        undrain_everywhere(change, address)
        return
    backends = change.client.backends
    change.update(
        lambda: backends.undrain(vip, address, **change.how),
        f"backend {address} of {vip}",
        of=lambda: backends.get(vip, address),
        done=("is no longer draining", "is not draining"),
    )


@command.command(
    short_help="Remove a backend at once.", epilog="\b\nExamples:\n  xdplb backend rm 203.0.113.10:443/tcp 10.0.0.11"
)
@_backend_arguments
@changing(conditional=True)
def rm(change: Change, /, *, vip: str, address: str) -> None:
    """Remove a backend at once; drain it first to let its connections end."""
    change.remove(lambda: change.client.backends.delete(vip, address, **change.how), f"backend {address} of {vip}")


@command.command(
    epilog="""\b
Examples:
  xdplb backend ls
  xdplb backend ls 203.0.113.10:443/tcp
  xdplb backend ls web -o wide
  xdplb backend ls web --nodes"""
)
@click.argument("vip", metavar="[VIP]", required=False, shell_complete=vip_names)
@click.option("--nodes", "by_node", is_flag=True, help="Show how healthy each node sees the backends of the VIP.")
@output_option
@watchable
@click.pass_obj
def ls(connection: Connection, vip: str | None, *, as_json: bool, by_node: bool) -> None:
    """List the backends of a VIP, or of all VIPs, and their status.

    -o wide also shows how packets reach them, by which NIC and MAC, their role, and how long handshakes take.
    """
    if by_node:
        _ls_by_node(connection, vip, as_json=as_json)
        return
    client = connection.client()
    answer: Answer[AllBackendsOut | BackendListOut] = (
        client.backends.all() if vip is None else client.backends.list(vip)
    )
    if as_json:
        print_json(answer.body)
        return
    backends = answer.json()["backends"]
    columns, rows = _COLUMNS, [_row(backend) for backend in backends]
    if nodes := sharing_nodes(client):
        cells = [nodes_cell(backend["generation"], nodes) for backend in backends]
        columns = [*columns[:-1], NODES, columns[-1]]
        rows = [(*row[:-1], cell, row[-1]) for row, cell in zip(rows, cells, strict=True)]
    if vip is None:
        columns = [Column("VIP"), *columns]
        rows = [(backend.get("vip"), *row) for backend, row in zip(backends, rows, strict=True)]
    table(columns, rows)


def _ls_by_node(connection: Connection, vip: str | None, *, as_json: bool) -> None:
    if vip is None:
        raise click.UsageError("--nodes shows the backends of one VIP: give the VIP as well")
    answer = connection.client().nodes.of_vip(vip)
    if as_json:
        print_json(answer.body)
    else:
        print_nodes_of_vip(answer.json())


def _row(backend: BackendOut) -> tuple[object, ...]:
    status = backend["status"]
    latency = status.get("handshakes")  # an older daemon has none
    times = (None, None) if latency is None else (latency["p50_seconds"], latency["p99_seconds"])
    is_wide = chosen_output.get() is Output.WIDE
    return (
        backend["address"],
        _weight_text(backend),
        _declared_text(backend, "admin_state"),
        status["health"],
        percent(status["share"]),
        status["flows"],
        f"{backend['forward']} :{backend['port']}" if backend.get("port") else backend["forward"],
        status["interface"],
        status["mac"],
        backend.get("role"),
        backend.get("max_new_flows") or None,
        *(None if seconds is None else _milliseconds(seconds) for seconds in times),
        "; ".join(filter(None, (str(status["reason"]), status.get("hint")))) if is_wide else status["reason"],
    )


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:.3g} ms"


@command.command(epilog="\b\nExamples:\n  xdplb backend show 203.0.113.10:443/tcp 10.0.0.11 -o json")
@_backend_arguments
@output_option
@watchable
@click.pass_obj
def show(connection: Connection, vip: str, address: str, as_json: bool) -> None:
    """Show one backend: its configuration and its status."""
    answer = connection.client().backends.get(vip, address)
    if as_json:
        print_json(answer.body)
        return
    body = answer.json()
    status = body["status"]
    print_fields(
        [
            ("backend", body["address"]),
            ("weight", _weight_text(body)),
            ("admin-state", _declared_text(body, "admin_state")),
            ("health", f"{status['health']} since {moment(status['since'])}"),
            ("reason", status["reason"]),
            ("hint", status.get("hint") or None),
            ("ejected", _ejection_text(status)),
            ("handshakes", _handshakes_text(status)),
            ("share", percent(status["share"])),
            ("flows seen", status["flows"]),
            ("drain", _drain_text(status["drain"])),
            ("last drain", _certificate_text(status.get("certificate"))),
            ("forward", body["forward"]),
            ("port", body["port"]),
            ("quic-server-id", body["quic_server_id"]),
            ("role", body["role"]),
            ("max-new-flows", f"{body['max_new_flows']}/s" if body["max_new_flows"] else None),
            ("checked", None if body["checked"] else "no"),
            ("check-port", body["check_port"]),
            ("check-path", body["check_path"]),
            ("interface", status["interface"]),
            ("mac", status["mac"]),
            ("mtu", _mtu_text(status)),
            ("path errors", _path_errors_text(status["path_errors"])),
            ("generation", f"{body['generation']} (in the data plane: {status['observed_generation']})"),
        ]
    )


def _weight_text(backend: BackendOut) -> str:
    """Return the weight, and the one that counts if an agent wants another."""
    told = _declared_text(backend, "weight")
    counts = backend["status"].get("effective_weight", backend["weight"])  # an older daemon has none
    return told if counts == backend["weight"] else f"{told} (now {counts:g})"


def _declared_text(backend: BackendOut, name: Literal["weight", "admin_state"]) -> str:
    """Return a setting, and what the config file says if an overlay lies over that, or that the store lacks it."""
    declared = backend.get("declared")  # an older daemon has none
    if name == "admin_state" and backend["status"].get("pending"):
        return f"{backend[name]} (not in the store yet)"
    if declared is None or declared[name] == backend[name]:
        return str(backend[name])
    return f"{backend[name]} (file: {declared[name]})"


def _ejection_text(status: BackendStatusOut) -> str | None:
    ejection = status.get("ejection")
    if ejection is None:
        return None
    return f"since {moment(ejection['since'])}, until {moment(ejection['until'])}; {ejection['times']} of late"


def _handshakes_text(status: BackendStatusOut) -> str | None:
    latency = status.get("handshakes")
    if latency is None:
        return None
    p50, p99 = _milliseconds(latency["p50_seconds"]), _milliseconds(latency["p99_seconds"])
    return f"half take less than {p50}, 99 % less than {p99}"


def _mtu_text(status: BackendStatusOut) -> str | None:
    if status["mtu"] is None:
        return None
    if (told := status["path_mtu"]) is None:
        return str(status["mtu"])
    who = "learnt before the daemon started" if told["router"] is None else f"{told['router']} says so"
    return f"{status['mtu']} ({who}; longer packets are tried again at {moment(told['until'])})"


def _path_errors_text(errors: PathErrorsOut) -> str | None:
    counted = [f"{kind.replace('_', ' ')} {count}" for kind, count in errors.items() if count]
    return ", ".join(counted) or None


def _certificate_text(certificate: CertificateOut | None) -> str | None:
    if certificate is None:
        return None
    from .certificate import certificate_text

    return certificate_text(certificate)


def _drain_text(drain_status: DrainOut | None) -> str | None:
    if drain_status is None:
        return None
    left = "not counted" if drain_status["flows"] is None else f"{drain_status['flows']} seen open"
    quiet = duration_text(drain_status["quiet_seconds"])
    end = f"; what is left is cut at {moment(drain_status['deadline'])}" if drain_status.get("cut_at_deadline") else ""
    began = f"started {moment(drain_status['started'])}, watching for at least {quiet}"
    return f"{drain_status['state']}, {left}; {began}{end}"
