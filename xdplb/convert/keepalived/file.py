# SPDX-License-Identifier: Apache-2.0
"""A whole keepalived.conf."""

from __future__ import annotations

from collections.abc import Callable

from xdplb.convert.notes import Notes
from xdplb.convert.service import Service

from .blocks import Statement, statements_of
from .lines import Reader
from .servers import Servers

__all__ = ["GLOBAL", "read"]

_STAYS = "it stays with keepalived, which goes on to hold the address: docs/ha.md"
_TOP = {
    "vrrp_instance": _STAYS,
    "vrrp_sync_group": _STAYS,
    "vrrp_script": _STAYS,
    "vrrp_track_process": _STAYS,
    "vrrp_track_file": _STAYS,
    "track_file": _STAYS,
    "track_group": _STAYS,
    "garp_group": _STAYS,
    "bfd_instance": "there is no BFD; let keepalived or a routing daemon run it",
    "static_ipaddress": "addresses, routes and rules of the host are not xdplb's",
    "static_routes": "addresses, routes and rules of the host are not xdplb's",
    "static_rules": "addresses, routes and rules of the host are not xdplb's",
    "interface_up_down_delays": "addresses, routes and rules of the host are not xdplb's",
    "linkbeat_interfaces": "a NIC without a carrier is seen by itself",
    "linkbeat_use_polling": "a NIC without a carrier is seen by itself",
    "net_namespace": "start xdplb up in it: ip netns exec, or nsenter --net",
    "net_namespace_ipvs": "start xdplb up in it: ip netns exec, or nsenter --net",
    "instance": "an instance is its --pin-dir, --state-dir and --listen",
    "use_pid_dir": "systemd knows the process",
    "SSL": "there is no https check",
}
GLOBAL = {
    "lvs_sync_daemon": "balancers tell each other of connections by xdplb up --peer-listen and --peer",
    "lvs_flush": "xdplb leaves IPVS alone: ipvsadm -C empties it",
    "lvs_flush_on_stop": "xdplb leaves IPVS alone: ipvsadm -C empties it",
}


def read(text: str, file: str, *, config_id: str, open_file: Callable[[str], str], notes: Notes) -> list[Service]:
    """Return the services in a keepalived.conf. What belongs to none is told in `notes`.

    `config_id` is what `@conditions` are compared with, `open_file` returns the text of a file that is included.
    Raises ConvertError if it cannot be understood, and what `open_file` raises.
    """
    statements = statements_of(Reader(config_id, open_file, notes).lines(file, text))
    groups = {each.value: each for each in statements if each.name == "virtual_server_group"}
    defaults = [each for each in statements if each.name == "global_defs"]
    timeouts = _timeouts([inner for each in defaults for inner in each.block or []], notes)
    servers = Servers(groups, timeouts, notes)
    services = []
    for statement in statements:
        if statement.name == "virtual_server":
            service = servers.service(statement)
            services += [] if service is None else [service]
        else:
            _tell(statement, notes)
    _tell_unused(groups, statements, notes)
    return services


def _timeouts(block: list[Statement], notes: Notes) -> dict[str, Statement]:
    """Return `lvs_timeouts tcp SECS tcpfin SECS udp SECS` by its words."""
    found: dict[str, Statement] = {}
    for each in block:
        if each.name != "lvs_timeouts":
            continue
        for name, value in zip(each.values[::2], each.values[1::2], strict=False):
            if name in {"tcp", "udp"}:
                found[name] = Statement(each.where, [f"lvs_timeouts {name}", value])
            else:
                notes.left_out(each.where, f"lvs_timeouts {name} {value}", "a connection that has ended has no timeout")
    return found


def _tell(statement: Statement, notes: Notes) -> None:
    """Note what is not about balancing: of a block as a whole."""
    name = statement.name
    if name == "global_defs":
        for each in statement.block or []:
            if each.name != "lvs_timeouts":
                why = GLOBAL.get(each.name, "it is a setting of keepalived itself")
                notes.left_out(each.where, str(each), why)
    elif name != "virtual_server_group":
        size = "" if statement.block is None else " and its block"
        notes.left_out(statement.where, f"{statement}{size}", _TOP.get(name, "this keyword is not known"))


def _tell_unused(groups: dict[str, Statement], statements: list[Statement], notes: Notes) -> None:
    used = {each.values[1] for each in statements if each.name == "virtual_server" and each.values[:1] == ["group"]
            and len(each.values) > 1}  # fmt: skip
    for name, group in groups.items():
        if name not in used:
            notes.left_out(group.where, str(group), "no virtual_server has this group")
