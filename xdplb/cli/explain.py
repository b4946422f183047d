# SPDX-License-Identifier: Apache-2.0
"""`xdplb explain`: where a packet would go, and why."""

from __future__ import annotations

from typing import Any

import click

from xdplb.client.bodies import DifferenceOut, ExplainOut, FlowRecordOut, OuterOut, PacketOut, SentOut, SlotOut

from .completion import vip_argument
from .output import Column, note, paragraph, print_fields, print_json, table
from .params import Connection, output_option

__all__ = ["command"]


@click.command(
    name="explain",
    short_help="Say where a packet would go, and why.",
    epilog="""\b
Examples:
  xdplb explain 192.0.2.7:40000 203.0.113.10:443/tcp
  xdplb explain 192.0.2.7:40000 web --established
  xdplb explain 192.0.2.7:40000 web --if-down 10.0.0.11
  xdplb explain [2001:db8::9]:40000 [2001:db8::10]:443/udp -o json""",
)
@click.argument("client", metavar="CLIENT:PORT")
@vip_argument
@click.option("--syn", "packet", flag_value="syn", default=None, help="Ask about a SYN (TCP; the default).")
@click.option("--established", "packet", flag_value="established", help="Ask about a packet of an open connection.")
@click.option("--if-down", metavar="ADDRESS", help="Answer as if this backend of the VIP were down.")
@click.option(
    "--interface", metavar="IFACE", help="The NIC that the packet comes in by [the first that xdplb is attached to]."
)
@output_option
@click.pass_obj
def command(connection: Connection, /, *, client: str, vip: str, as_json: bool, **given: Any) -> int:
    """Say where a packet from CLIENT to VIP would go, and why. Nothing is sent, counted or recorded.

    VIP is a name, or any address and port in the form of a VIP. Both the reference model and the program in the kernel
    are asked; exit 1 if they differ, which is a bug. The first question takes seconds.
    """
    answer = connection.client().explain(client, vip, **given)
    body = answer.json()
    if as_json:
        print_json(answer.body)
    else:
        _print(body)
    return 1 if body["agree"] is False else 0


def _print(body: ExplainOut) -> None:
    print_fields(
        [
            ("packet", _packet(body["packet"])),
            *([("if down", body["if_down"])] if body["if_down"] else []),
            ("vip", body["vip"]),
            ("action", _action(body)),
            ("backend", body["backend"]),
            ("slot", _slot(body["slot"])),
            ("record", _record(body["record"])),
            *_sent(body["sent"]),
            ("program", {True: "agrees", False: "differs", None: "not asked"}[body["agree"]]),
        ]
    )
    click.echo()
    for sentence in body["why"]:
        paragraph(sentence, before="- ", indent=2)
    if body["note"]:
        note(body["note"])
    if body["agree"] is False:
        click.echo()
        _print_differences(body["differences"])


def _print_differences(differences: list[DifferenceOut]) -> None:
    table(
        [Column("DIFFERS"), Column("MODEL"), Column("PROGRAM")],
        [(each["what"], each["model"], each["program"]) for each in differences],
    )
    note("the program and the reference model decide differently: this is a bug, please report it with this output")


def _packet(packet: PacketOut) -> str:
    source, destination = (
        f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
        for address, port in ((packet["client"], packet["client_port"]), (packet["address"], packet["port"]))
    )
    return f"{packet['protocol']} {packet['kind']} {source} > {destination}, in by {packet['interface']}"


def _action(body: ExplainOut) -> str:
    return body["action"] if body["reason"] is None else f"{body['action']}: {body['reason']}"


def _slot(slot: SlotOut | None) -> str | None:
    if slot is None:
        return None
    owner = f"of {slot['owner']}" if slot["owner"] else "without an owner"
    previous = f" from {slot['previous']}" if slot["previous"] else ""
    return f"{slot['number']}, {slot['state']}{previous}, {owner}"


def _record(record: FlowRecordOut | None) -> str | None:
    if record is None:
        return None
    more = [*record["flags"], *(["on probation"] if record["probation"] else [])]
    counts = "" if record["counts"] else ", not used"
    told = f" ({', '.join(more)})" if more else ""
    return f"{record['backend'] or 'a backend that is gone'}, {record['age_seconds']:.1f} s old{told}{counts}"


def _sent(sent: SentOut | None) -> list[tuple[str, object]]:
    if sent is None:
        return []
    hop, outer = sent["next_hop"], sent["outer"]
    way = f"{hop['mac']} by {hop['interface']}, MTU {hop['mtu']}"
    way += f", through the gateway {hop['gateway']}" if hop["gateway"] else ""
    way += f", VLAN {' in '.join(map(str, reversed(hop['vlans'])))}" if hop["vlans"] else ""
    return [("forward", sent["forward"] if outer is None else _outer(sent["forward"], outer)), ("next hop", way)]


def _outer(forward: str, outer: OuterOut) -> str:
    ports = "" if outer["source_port"] is None else f", ports {outer['source_port']} > {outer['destination_port']}"
    return f"{forward}, outer {outer['source']} > {outer['destination']}{ports}"
