# SPDX-License-Identifier: Apache-2.0
"""`xdplb vip`: the addresses that clients talk to."""

from __future__ import annotations

from typing import Any, cast

import click

from xdplb.client import Client
from xdplb.client.bodies import (
    AccessCountOut,
    DnsOut,
    DnsStatusOut,
    HealthCheckIn,
    LimitsOut,
    QuicOut,
    VipPatch,
    VipPost,
    VipStatusOut,
)
from xdplb.model.vip import VipKey

from .changes import Change, changing
from .check_options import check_body, check_options
from .completion import vip_argument
from .groups import Group
from .node_generations import sharing_nodes
from .output import moment, note, percent, print_fields, print_json
from .params import Connection, duration_text, output_option
from .vip_access import access
from .vip_options import policy, policy_options
from .vip_table import announced_text, print_vips, vip_text
from .watching import watchable

__all__ = ["command"]

_MOST_REASONS = 3


@click.group(
    cls=Group,
    name="vip",
    short_help="The addresses that clients talk to.",
    epilog="""\b
A VIP is given by its name, or written as one of these:
  203.0.113.10:443/tcp             one address and port
  [2001:db8::10]:443/udp           the same for IPv6
  203.0.113.10:53/tcp+udp          both protocols
  203.0.113.10:8000-8999/tcp       several ports
  203.0.113.10:0/tcp               all ports
  203.0.113.0/24:80/tcp            all addresses of a prefix""",
)
def command() -> None:
    """Add, change, remove and show VIPs. If several match a packet, the most specific one gets it."""


@command.command(
    epilog="""\b
Examples:
  xdplb vip add 203.0.113.10:443/tcp --forward dr
  xdplb vip add '[2001:db8::10]:443/tcp' --forward gue --scheduler wlc
  xdplb vip add 203.0.113.10:53/tcp+udp --name dns --forward ipip --limit-source-packets 1000
  xdplb vip add 203.0.113.0/24:8000-8999/tcp
  xdplb vip add 203.0.113.10:443/udp --quic-server-id-bytes 2
  xdplb vip add 203.0.113.10:80/tcp --check http --check-path /healthz"""
)
@click.argument("vip", metavar="VIP")
@click.option("--name", help="A name for it: a-z, 0-9 and -.")
@policy_options
@check_options("check-")
@changing()
def add(change: Change, /, *, vip: str, **given: Any) -> None:
    """Add a VIP. By default it forwards by dr and has no health check.

    With --check, its backends get no traffic before their first passed checks.
    """
    key = VipKey.parse(vip)
    check = check_body("check-", given, key)
    body = {"address": key.addresses_text, "port": key.port, "protocol": key.protocol.value, **policy(given)}
    if key.last_port != key.port:
        body["last_port"] = key.last_port
    change.create(change.client.vips.create(cast("VipPost", body), **change.how), f"VIP {key}")
    if check is None:
        return
    if change.dry_run:
        note(f"its health check ({check['type']}) would be set too")
    else:
        change.made(change.client.checks.put(vip, cast("HealthCheckIn", check)))


@command.command(
    name="set",
    epilog="""\b
Examples:
  xdplb vip set 203.0.113.10:443/tcp --all-unhealthy fail-closed
  xdplb vip set web --idle-timeout 30m""",
)
@vip_argument
@click.option("--name", help="A name for it; '' removes its name.")
@policy_options
@changing(conditional=True)
def set_(change: Change, /, *, vip: str, **given: Any) -> None:
    """Change a VIP. Open connections keep their backends, except with --hash, which gives each another slot.

    With another --scheduler only recorded connections keep theirs; with --tracking always these are all of them.
    """
    fields = policy(given)
    if fields.get("name") == "":
        fields["name"] = None
    if not fields:
        raise click.UsageError("nothing to change: give an option, such as --forward ipip")
    vips = change.client.vips
    change.update(
        lambda: vips.patch(vip, cast("VipPatch", fields), **change.how), f"VIP {vip}", of=lambda: vips.get(vip)
    )


@command.command(
    short_help="Remove a VIP with its backends.",
    epilog="\b\nExamples:\n  xdplb vip rm 203.0.113.10:443/tcp\n  xdplb vip rm web --dry-run",
)
@vip_argument
@changing(conditional=True)
def rm(change: Change, /, *, vip: str) -> None:
    """Remove a VIP with its backends. From then on its packets are passed to the host's own stack."""
    change.remove(lambda: change.client.vips.delete(vip, **change.how), f"VIP {vip}")


@command.command(epilog="\b\nExamples:\n  xdplb vip ls\n  xdplb vip ls -o json")
@output_option
@watchable
@click.pass_obj
def ls(connection: Connection, as_json: bool) -> None:
    """List the VIPs."""
    client = connection.client()
    answer = client.vips.list()
    if as_json:
        print_json(answer.body)
    else:
        print_vips(answer.json()["vips"], sharing_nodes(client))


@command.command(epilog="\b\nExamples:\n  xdplb vip show 203.0.113.10:443/tcp\n  xdplb vip show web -o json")
@vip_argument
@output_option
@watchable
@click.pass_obj
def show(connection: Connection, vip: str, as_json: bool) -> None:
    """Show one VIP: its configuration and its status."""
    client = connection.client()
    answer = client.vips.get(vip)
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
            ("backends", _serving_text(status)),
            ("policy", status.get("reason")),
            ("announced", announced_text(status)),
            ("reasons", _reasons_text(client, vip) if status["backends_serving"] < status["backends"] else None),
            ("health-check", _check_text(client, vip)),
            ("forward", body["forward"]),
            ("scheduler", body["scheduler"]),
            ("tracking", body["tracking"]),
            ("hash", body["hash"]),
            ("on-unhealthy", body["on_unhealthy"]),
            ("all-unhealthy", body["all_unhealthy"]),
            ("min-serving", body["min_serving"]),
            ("passive", body["passive"]),
            ("syn-failover", "yes" if body["syn_failover"] else None),
            ("panic-share", percent(body["panic_share"]) if body["panic_share"] else None),
            ("slow-start", duration_text(body["slow_start_seconds"]) if body["slow_start_seconds"] else None),
            ("announce", body["announce"] if body["announce"] != "never" else None),
            ("sync", body["sync"] if body["sync"] != "moving" else None),
            ("dns", _dns_text(body["dns"])),
            ("in-dns", _dns_status_text(status.get("dns"))),
            ("idle-timeout", duration_text(body["idle_timeout_seconds"])),
            ("vlan", body["vlan"]),
            ("nat-direct", ", ".join(body.get("nat_direct", [])) or None),
            ("quic", _quic_text(body["quic"])),
            ("limits", _limits_text(body["limits"])),
            ("access", _access_text(status["access"])),
            ("slots", f"{slots['steady']} steady, {slots['moving']} moving, {slots['pinned']} pinned"),
            ("generation", f"{body['generation']} (in the data plane: {status['observed_generation']})"),
        ]
    )


def _serving_text(status: VipStatusOut) -> str:
    """Return how many backends serve, and how many must if that is more."""
    text = f"{status['backends_serving']} of {status['backends']} serving"
    return text if status.get("min_serving_met", True) else f"{text}, {status['backends_needed']} must"


def _quic_text(quic: QuicOut | None) -> str | None:
    return f"server IDs of {quic['server_id_bytes']} bytes, config ID {quic['config_id']}" if quic else None


def _dns_text(dns: DnsOut | None) -> str | None:
    return f"{dns['name']} in {dns['zone']} by {dns['server']}, TTL {dns['ttl']} s" if dns else None


def _dns_status_text(dns: DnsStatusOut | None) -> str | None:
    """Return whether the address is under its name, since when, and why so."""
    if dns is None:
        return None
    if dns["standing"] is None:
        return f"not known: {dns['reason']}"
    word = f"{'yes' if dns['published'] else 'no'}, since {moment(dns['since'])}"
    return f"{word}: {dns['reason']}" if dns["reason"] else word


def _limits_text(limits: LimitsOut) -> str | None:
    """Return the rate limits that are set, by the names of their options."""
    return ", ".join(f"{name.replace('_', '-')} {rate}/s" for name, rate in limits.items() if rate) or None


def _access_text(access_list: AccessCountOut) -> str:
    if not any(access_list.values()):
        return "any source"
    return f"{access_list['allow']} prefixes allowed, {access_list['deny']} denied"


def _reasons_text(client: Client, vip: str) -> str | None:
    """Return why backends do not serve: the first few of them, each with its reason."""
    backends = client.backends.list(vip).json()["backends"]
    told = [f"{each['address']}: {each['status']['reason']}" for each in backends if each["status"]["reason"]]
    more = [f"{len(told) - _MOST_REASONS} more: see xdplb backend ls"] if len(told) > _MOST_REASONS else []
    return "; ".join(told[:_MOST_REASONS] + more) or None


def _check_text(client: Client, vip: str) -> str:
    """Return the health checks of a VIP in a few words."""
    told = []
    for check in client.checks.of(vip).json()["checks"]:
        words = [check["type"], check["path"], f"port {check['port']}" if check["port"] else None]
        told.append(" ".join(filter(None, [*words, f"every {duration_text(check['interval_seconds'])}"])))
    return " and ".join(told) or "none: its backends count as up"


command.add_command(access)
