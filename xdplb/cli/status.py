# SPDX-License-Identifier: Apache-2.0
"""`xdplb status`: the balancer's status on one page; wait until it is ready."""

from __future__ import annotations

import time

import click

from xdplb.client import Answer, Client, DaemonDownError, NotReadyError, TimedOutError
from xdplb.client.bodies import ConfigStatusOut, FlowTableOut, NicOut, ReadyVipOut, ReadyzOut, StatusOut, StoreOut
from xdplb.model.errors import PlatformError

from .completion import vip_names
from .groups import Command
from .output import Column, coloured, moment, note, number, print_fields, print_json, table
from .params import Connection, duration, duration_text, output_option
from .progress import ticking
from .vip_table import print_vips
from .watching import watchable

__all__ = ["command"]

_POLL_SECONDS = 0.2

_VIP_COLUMNS = [
    Column("VIP"),
    Column("NAME"),
    Column("STATUS", style=coloured),
    Column("SERVING", right=True),
    Column("NEEDED", right=True),
]


@click.command(
    cls=Command,
    name="status",
    short_help="Show the balancer's status; wait until it is ready.",
    epilog="""\b
Examples:
  xdplb status
  xdplb status --wait --timeout 30s
  xdplb status --vip web --vip 203.0.113.10:443/tcp
  xdplb status -o json""",
)
@click.option(
    "--vip",
    "vips",
    metavar="VIP",
    multiple=True,
    shell_complete=vip_names,
    help="Show whether this VIP is ready: the balancer is, and min-serving backends serve. May be repeated.",
)
@click.option("--wait", is_flag=True, help="Return when it is ready (exit 0) or at the timeout (exit 5).")
@click.option(
    "--timeout", type=duration, metavar="TIME", default="30s", show_default=True, help="How long --wait waits."
)
@output_option
@watchable
@click.pass_obj
def command(connection: Connection, vips: tuple[str, ...], wait: bool, timeout: float, as_json: bool) -> int:
    """Show the balancer's status. Exit 1 if it is not ready.

    With --vip, show that of these VIPs alone, as a tracker needs it: exit 1 if one of them is not ready.
    """
    client = connection.client()
    if wait:
        _wait_until_ready(client, vips, timeout)
    if vips:
        return _show_vips(client, vips, as_json)
    answer = client.status()
    body = answer.json()
    if as_json:
        print_json(answer.body)
    else:
        _print(body)
    return 0 if body["ready"] else 1


def _show_vips(client: Client, vips: tuple[str, ...], as_json: bool) -> int:
    """Print whether these VIPs are ready, and return the exit code."""
    refusal: NotReadyError | None = None
    answer: Answer[ReadyzOut]
    try:
        answer = client.ready(*vips)
    except NotReadyError as error:
        refusal, answer = error, Answer(error.status, error.body)
    if as_json:
        print_json(answer.body)
    else:
        table(_VIP_COLUMNS, [_vip_row(each) for each in answer.json()["vips"]])
    if refusal is None:
        return 0
    note(f"xdplb: {refusal.detail}")
    return 1


def _vip_row(vip: ReadyVipOut) -> tuple[object, ...]:
    return vip["vip"], vip["name"], vip["operating_status"], vip["backends_serving"], vip["backends_needed"]


def _wait_until_ready(client: Client, vips: tuple[str, ...], timeout: float) -> None:
    deadline, why = time.monotonic() + timeout, "waiting until it is ready"
    with ticking(lambda: why):
        while True:
            try:
                client.ready(*vips, within=deadline - time.monotonic())
            except (DaemonDownError, PlatformError, TimedOutError) as error:
                if time.monotonic() >= deadline:
                    raise TimedOutError(
                        f"not ready after {duration_text(timeout)}: {error.detail}", hint=error.hint
                    ) from None
                why = f"not ready: {error.detail}"
            else:
                return
            time.sleep(_POLL_SECONDS)


def _print(body: StatusOut) -> None:
    nics = body.get("nics", [])  # a daemon that was started before an upgrade does not know them
    print_fields(
        [
            ("daemon", f"xdplb {body['version']}, since {moment(body['started'])}"),
            ("ready", "yes" if body["ready"] else "no"),
            ("interfaces", ", ".join(map(_nic_text, nics)) or "none"),
            ("generation", f"{body['generation']} (in the data plane: {body['observed_generation']})"),
            ("config", _config_text(body.get("config"))),
            ("store", _store_text(body.get("store"))),
            ("flows", _flows_text(body["flows"])),
        ]
    )
    _note_all(body)
    if body["vips"]:
        click.echo()
        print_vips(body["vips"])


def _note_all(body: StatusOut) -> None:
    """Say on stderr what is not as it should be, and what else there is to know."""
    for reason in body["not_ready"]:
        note(f"not ready: {reason}")
    for nic in body.get("nics", []):
        if nic["note"]:
            note(f"note: {nic['note']}")
    if body["last_error"] and body["last_error"] not in body["not_ready"]:
        note(f"error: {body['last_error']}")
    if (config := body.get("config")) and config["error"]:
        note(f"error: the config file is refused, and what runs goes on: {config['error']}")
    for each in body.get("drift", []):
        if each["reason"] not in body["not_ready"]:
            note(f"not as it should be since {moment(each['since'])}: {each['reason']}")
    _note_pending(body.get("store"))
    for warning in body.get("warnings", ()):  # an older daemon has none
        note(f"warning: {warning}")
    for own in body.get("notes", ()):
        note(f"note: {own}")


def _config_text(config: ConfigStatusOut | None) -> str | None:
    if config is None:  # an older daemon
        return None
    if config["owner"] is None:
        return "by API and command"
    laid = f"{config['overlay']} backend{'' if config['overlay'] == 1 else 's'}"
    return f"{config['owner']}" + (
        f", with an overlay on {laid}: xdplb config diff shows it" if config["overlay"] else ""
    )


def _note_pending(store: StoreOut | None) -> None:
    for laid in () if store is None else store["pending"]:
        note(
            f"pending: backend {laid['address']} of VIP {laid['vip']} has weight {laid['weight']} and is"
            f" {laid['admin_state']} here; the store has weight {laid['stored_weight']} and"
            f" {laid['stored_admin_state']}"
        )


def _store_text(store: StoreOut | None) -> str | None:
    if store is None:  # alone, or an older daemon
        return None
    text = f"{store['place']}, {store['state']}"
    if store["state"] != "up":
        text += f" since {moment(store['since'])}"
    if pending := len(store["pending"]):
        text += f", {pending} backend{'' if pending == 1 else 's'} changed here and not written to it yet"
    return text


def _nic_text(nic: NicOut) -> str:
    if not nic["attached"]:
        return f"{nic['interface']} (not attached)"
    where = nic["mode"] if nic["up"] is not False else f"{nic['mode']}, down"
    return f"{nic['interface']} ({where})" if nic["asked_mode"] else f"{nic['interface']} ({where}, not named in up)"


def _flows_text(flows: FlowTableOut) -> str:
    text = f"{number(flows['used'])} of {number(flows['capacity'])}, in {flows['bytes'] / 2**20:.0f} MiB"
    return text + (f"; {number(flows['evicted'])} evicted since the daemon started" if flows["evicted"] else "")
