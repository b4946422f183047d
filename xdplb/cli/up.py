# SPDX-License-Identifier: Apache-2.0
"""`xdplb up`: attach to NICs, serve the API, stay in the foreground."""

from __future__ import annotations

import gc
import logging
import os
from collections.abc import Callable
from dataclasses import replace
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import click

from xdplb.daemon.sharing_options import PeerOptions, StoreOptions
from xdplb.model.address import IPAddress, IPNetwork, parse_address, parse_network
from xdplb.model.announcing import Announcing
from xdplb.model.decap import checked_decap
from xdplb.model.errors import InvalidError, XdplbError
from xdplb.model.node import name_of_host, parse_node_name, parse_node_url

from .announce_options import announce_options
from .api_options import api_options
from .event_options import event_options
from .output import hint_of
from .params import Whole, mode_option, parsed, pin_dir_option, state_dir_option
from .peer_options import peer_options
from .progress import ticking
from .right_options import chosen_api, right_options
from .sections import SectionedCommand
from .store_options import store_options

__all__ = ["command"]

_Given = ParamSpec("_Given")
_Plane = TypeVar("_Plane")


# The loader's limits, repeated here: --help must not import the loader.
_VIPS, _BACKENDS, _FLOWS = (Whole(1, most) for most in (8192, 65534, 1 << 30))


def _networks(_context: click.Context, _parameter: click.Parameter, texts: tuple[str, ...]) -> tuple[IPNetwork, ...]:
    """Return the prefixes in `texts`. `off` removes those before it; of two of one family the last one counts."""
    networks: dict[int, IPNetwork] = {}
    for text in texts:
        if text == "off":
            networks.clear()
            continue
        try:
            network = parse_network(text)
        except InvalidError:
            raise click.BadParameter(
                f"{text!r} is not a prefix; give one such as 10.200.0.0/16 or 2001:db8:200::/96, or off"
            ) from None
        networks[network.version] = network
    return tuple(networks.values())


def _addresses(_context: click.Context, _parameter: click.Parameter, texts: tuple[str, ...]) -> tuple[IPAddress, ...]:
    try:
        return tuple(parse_address(text) for text in texts)
    except InvalidError as error:
        raise click.BadParameter(f"{error.detail}; give one of this host's, such as 10.0.0.2") from None


def _prefixes(_context: click.Context, _parameter: click.Parameter, texts: tuple[str, ...]) -> tuple[IPNetwork, ...]:
    try:
        return tuple(parse_network(text) for text in texts)
    except InvalidError as error:
        hint = hint_of(error)
        raise click.BadParameter(f"{error.detail}" + (f" ({hint})" if hint else "")) from None


_SECTIONS = {
    "What it balances with": (
        "--mode",
        "--pin-dir",
        "--max-",
        "--ipip-source",
        "--decap-",
        "--accept-differences",
        "--exec-checks",
        "--count-by-nic",
    ),
    "What is desired": ("--config", "--state-dir", "--restore", "--replace-state", "--adopt-maps", "--discard-maps"),
    "The API, and who may use it": ("--listen", "--metrics-listen", "--socket-group", "--tls-", "--allowed-host"),
    "Several balancers": ("--node", "--advertise-url"),
    "Several balancers: one desired state in a store (docs/cluster.md)": ("--store",),
    "Several balancers: peers, which know each other's connections (docs/cluster.md)": ("--peer",),
    "Several balancers: routes for BGP, files for keepalived (docs/ha.md)": (
        "--announce-",
        "--on-daemon-loss",
        "--vrrp-",
    ),
    "The log and events": ("--log-format", "--events-", "--notify"),
    "How much the API takes on": ("--api-",),
}
"""The headings in the help, each with how the names of its options begin."""


def _telling(load: Callable[_Given, _Plane]) -> Callable[_Given, _Plane]:
    """Return `load` with a line on the terminal while it takes long.

    The thread of that line ends with it: each thread that there is later keeps the privileges that the daemon gives up.
    """

    @wraps(load)
    def loading(*arguments: _Given.args, **named: _Given.kwargs) -> _Plane:
        with ticking("attaching; compiling a program, and trying a newer one, takes seconds"):
            return load(*arguments, **named)

    return loading


@click.command(
    name="up",
    cls=SectionedCommand,
    sections=_SECTIONS,
    short_help="Attach to NICs and balance, in the foreground.",
    epilog="""\b
Examples:
  sudo xdplb up eth0
  sudo xdplb up eth0 --config /etc/xdplb/config.toml
  sudo xdplb up eth0 eth1 --mode native --metrics-listen 10.0.0.2:9780
  sudo xdplb up eth0 --socket-group operate=netops --socket-group read=monitoring
  sudo xdplb up eth0 --store etcd://10.0.0.1,10.0.0.2,10.0.0.3/xdplb
  sudo xdplb up eth0 --peer-listen 10.0.0.1 --peer 10.0.0.2 --peer-key-file /etc/xdplb/peers.key
  sudo xdplb up eth0 --decap-at 10.0.0.2 --decap-from 10.0.0.0/24
  sudo xdplb up eth0 --max-vips 4096 --max-backends 60000""",
)
@click.argument("interfaces", metavar="IFACE...", nargs=-1)
@mode_option
@right_options
@click.option(
    "--config",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="A config file that owns the VIPs and backends: it is read now and at each SIGHUP. Without it, the API owns "
    "them.",
)
@state_dir_option("Where the VIPs, backends and checks are stored.")
@pin_dir_option
@click.option("--max-vips", type=_VIPS, metavar="N", help="Room for this many VIPs.  [as it is, else 1024]")
@click.option(
    "--max-backends",
    type=_BACKENDS,
    metavar="N",
    help="Room for this many backends, of all VIPs.  [as it is, else 16384]",
)
@click.option(
    "--max-flows", type=_FLOWS, metavar="N", help="Room for this many recorded flows.  [as it is, else 1048576]"
)
@click.option(
    "--ipip-source",
    "tunnel_sources",
    multiple=True,
    callback=_networks,
    metavar="off|PREFIX",
    help="Outer source address of ipip and gue packets: the host's own (off), or one of PREFIX, chosen by flow, so "
    "that RSS spreads them on the backends. May be given twice, once per family.  [off]",
)
@click.option(
    "--decap-at",
    multiple=True,
    callback=_addresses,
    metavar="ADDRESS",
    help="An address of this host at which tunnels end: packets that come to it in IPIP or GUE are unwrapped and "
    "balanced. May be given several times. Needs --decap-from.",
)
@click.option(
    "--decap-from",
    multiple=True,
    callback=_prefixes,
    metavar="PREFIX",
    help="Whose packets are unwrapped, such as those of another tier of balancers; from others they are dropped. May "
    "be given several times.",
)
@click.option(
    "--restore",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Begin with the state in this file, which `xdplb backup` has written. Connections to backends in it go on.",
)
@click.option(
    "--replace-state",
    is_flag=True,
    help="With --restore: also if there is a state with VIPs, which is kept beside the new one.",
)
@click.option(
    "--adopt-maps",
    is_flag=True,
    help="If the state is empty, older, or another balancer's, make one from what the maps hold, as far as they tell.",
)
@click.option(
    "--discard-maps",
    is_flag=True,
    help="If the state is empty, older, or another balancer's, go on with it: the maps lose what it does not have.",
)
@click.option(
    "--accept-differences",
    is_flag=True,
    help="Swap this version's program in although it does something else with some packets than the one in use, or "
    "was rolled back before.",
)
@click.option(
    "--exec-checks",
    is_flag=True,
    help="Allow exec checks: whoever may set checks can then run commands of this host, as any user but root.",
)
@click.option(
    "--count-by-nic",
    is_flag=True,
    help="Count packets by the NIC that they came in by and by what XDP did with them, for the metric "
    "xdplb_packets_total. That costs each packet about 3 ns; all other counters are always there.",
)
@click.option(
    "--node",
    callback=parsed(parse_node_name),
    metavar="NAME",
    help="The name of this balancer among others: a to z, 0 to 9, and - . _.  [the host's name]",
)
@click.option(
    "--advertise-url",
    callback=parsed(parse_node_url),
    metavar="URL",
    help="Where the others reach this API: https://lb1.example.net:8443.",
)
@store_options
@peer_options
@announce_options
@event_options
@api_options
def command(
    *,
    interfaces: tuple[str, ...],
    mode: str,
    config: Path | None,
    node: str | None,
    advertise_url: str | None,
    state_dir: Path,
    pin_dir: Path,
    max_vips: int | None,
    max_backends: int | None,
    max_flows: int | None,
    tunnel_sources: tuple[IPNetwork, ...],
    decap_at: tuple[IPAddress, ...],
    decap_from: tuple[IPNetwork, ...],
    adopt_maps: bool,
    restore: Path | None,
    replace_state: bool,
    discard_maps: bool,
    accept_differences: bool,
    exec_checks: bool,
    count_by_nic: bool,
    log_format: str,
    event_rows: int,
    event_days: float,
    notify: Path | None,
    store: StoreOptions | None,
    peering: PeerOptions | None,
    announcing: Announcing,
    **api: Any,
) -> int:
    """Balance on these NICs: attach, serve the API, and stay in the foreground.

    The XDP program stays attached when this command is stopped, killed or upgraded, and keeps forwarding. The next
    `xdplb up` takes over from there. Only `xdplb down` detaches.
    """
    if not interfaces:
        raise click.UsageError("name the NICs to balance on, such as eth0; of the service, in /etc/default/xdplb")
    from xdplb.daemon.log import LogFormat, is_log_for_programs, log_to_stderr
    from xdplb.daemon.signals import Signals

    if sum((adopt_maps, discard_maps, restore is not None)) > 1:
        raise click.UsageError("--adopt-maps, --discard-maps and --restore exclude each other: give one of them")
    if replace_state and restore is None:
        raise click.UsageError("--replace-state is for --restore FILE, which is missing")
    if store is not None and config is not None:
        raise click.UsageError(
            "--store and --config exclude each other: either a file says what is desired, or the balancers share it;"
            " to put a file into the store, use xdplb config apply"
        )
    try:
        decap = checked_decap(decap_at, decap_from)
    except InvalidError as error:
        raise click.UsageError(f"{error.detail}; {error.hint}") from None
    capacity = {"vips": max_vips, "backends": max_backends, "flows": max_flows}
    log_to_stderr(LogFormat(log_format))
    # numpy's library would start threads when it is imported; they would keep the privileges that the daemon gives up.
    os.environ["OPENBLAS_NUM_THREADS"] = "1"
    gc.disable()  # until the start is over: nearly all that it makes lives on
    with Signals().handled():  # first of all: the imports take a while
        from xdplb.daemon.options import DaemonOptions, Otherwise, Retention
        from xdplb.daemon.run import Parts, run

        otherwise = Otherwise.ADOPT if adopt_maps else Otherwise.DISCARD if discard_maps else None
        try:
            run(
                DaemonOptions(
                    interfaces=interfaces,
                    mode=mode,
                    state_dir=state_dir,
                    pin_dir=pin_dir,
                    capacity={name: value for name, value in capacity.items() if value is not None},
                    tunnel_sources=tunnel_sources,
                    decap=decap,
                    otherwise=otherwise,
                    restore=restore,
                    replaces_state=replace_state,
                    config=config,
                    accept_differences=accept_differences,
                    exec_checks=exec_checks,
                    counts_by_nic=count_by_nic,
                    notify=None if notify is None else notify.absolute(),
                    node=node or name_of_host(),
                    store=store,
                    announcing=announcing,
                    url=advertise_url or "",
                    peers=peering,
                    api=chosen_api(**api),
                    retention=Retention(event_rows, event_days),
                ),
                replace(Parts(), load=_telling(Parts().load)),
            )
        except XdplbError as error:
            if not is_log_for_programs():
                raise
            hint = hint_of(error)
            logging.getLogger("xdplb").error("%s", f"{error.detail} ({hint})" if hint else error.detail)
            return error.exit_code
        gc.freeze()  # at its end the interpreter would look for garbage among all that there is, several times
    return 0
