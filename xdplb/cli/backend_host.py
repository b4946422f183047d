# SPDX-License-Identifier: Apache-2.0
"""`xdplb backend-host`: prepare a backend's host for a VIP."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click

from xdplb.model.address import IPAddress, IPNetwork, parse_address, parse_network
from xdplb.model.errors import InvalidError
from xdplb.model.vip import Forward, Protocol, VipKey

from .changes import tell_dry_run
from .groups import Group
from .output import coloured, note, paragraph, print_json
from .params import dry_run_option, local_output_option, parsed, pin_dir_option, state_dir_option
from .progress import ticking

if TYPE_CHECKING:
    from xdplb.daemon.backend_host import HostSetup, PutBack, Shown

__all__ = ["command"]

_FORWARDS = (Forward.DR, Forward.IPIP, Forward.GUE, Forward.NAT)

_Command = TypeVar("_Command", bound=Callable[..., object])


def _vip_address(text: str) -> IPAddress | IPNetwork:
    """Return the address or prefix of a VIP, given with or without port and protocol: the host needs nothing else."""
    try:
        key = VipKey.parse(text)
    except InvalidError:
        key = VipKey.of(text, 0, Protocol.BOTH)
    return key.address if key.is_one_address else key.network


def _host_options(default: str | None) -> Callable[[_Command], _Command]:
    """Return a decorator that adds the options that say how packets reach this host; `default` is for --forward."""
    text = "How the balancer forwards packets to this host."

    def add(function: _Command) -> _Command:
        for option in (
            click.option(
                "--clients",
                metavar="PREFIX",
                multiple=True,
                callback=parsed(parse_network),
                help="For nat: the networks that clients are in. Default: anywhere, by the default route.",
            ),
            click.option(
                "--via",
                metavar="ADDRESS",
                multiple=True,
                callback=parsed(parse_address),
                help="For nat: the balancer's address on this host's network, or that of each of several.",
            ),
            click.option(
                "--interface", metavar="IFACE", help="The NIC they come in by. Default: that of the default route."
            ),
            click.option(
                "--outer",
                type=click.Choice(["ipv4", "ipv6"]),
                help="For ipip and gue: the family of the address that the balancer sends to. Default: the VIP's.",
            ),
            click.option(
                "--forward",
                type=click.Choice([str(forward) for forward in _FORWARDS]),
                default=default,
                show_default=default is not None,
                help=text if default else f"{text} Default: as set up, else dr.",
            ),
            click.argument("vip", metavar="VIP", type=_vip_address),
        ):
            function = option(function)
        return function

    return add


_state_dir_option = state_dir_option("Where the earlier settings are saved for undo.")


@click.group(cls=Group, name="backend-host", short_help="On a backend: prepare the host for a VIP.")
def command() -> None:
    """Prepare this host as a backend of a VIP: address on lo, no ARP for it, rp_filter, tunnel; or routes for nat."""


@command.command(
    epilog="""\b
Examples:
  sudo xdplb backend-host setup 203.0.113.10:443/tcp
  sudo xdplb backend-host setup 203.0.113.10 --forward ipip --interface eth0
  sudo xdplb backend-host setup 2001:db8::10 --forward gue --outer ipv4
  sudo xdplb backend-host setup 203.0.113.10 --forward nat --via 10.0.0.2"""
)
@_host_options("dr")
@_state_dir_option
@pin_dir_option
@dry_run_option
@local_output_option
def setup(
    *,
    vip: IPAddress | IPNetwork,
    forward: str,
    outer: str | None,
    interface: str | None,
    via: tuple[IPAddress, ...],
    clients: tuple[IPNetwork, ...],
    state_dir: Path,
    pin_dir: Path,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Make this host ready for a VIP and say what was changed. The changes are lost at a reboot."""
    from xdplb.daemon import backend_host

    how = _how(Forward(forward), interface, outer, via, clients)
    if dry_run:
        changes = backend_host.preview_setup(vip, how, pin_dir=pin_dir)
        tell_dry_run(changes, as_json=as_json)
        return
    with ticking("setting up this host"):
        changed = backend_host.setup(vip, how, state_dir=state_dir, pin_dir=pin_dir)
    _tell("changed", changed, f"nothing to change: this host is ready for {vip}", as_json)


@command.command(
    short_help="Show what a VIP needs of this host, and what is missing.",
    epilog="""\b
Examples:
  xdplb backend-host show 203.0.113.10
  xdplb backend-host show 203.0.113.10 --forward ipip""",
)
@_host_options(None)
@_state_dir_option
@pin_dir_option
@local_output_option
def show(
    *,
    vip: IPAddress | IPNetwork,
    forward: str | None,
    outer: str | None,
    interface: str | None,
    via: tuple[IPAddress, ...],
    clients: tuple[IPNetwork, ...],
    state_dir: Path,
    pin_dir: Path,
    as_json: bool,
) -> int:
    """Show what a VIP needs of this host, and what is missing. Exit 1 if something is.

    It checks for the kind of forwarding that this host was set up for.
    """
    from xdplb.daemon import backend_host

    given = _how(Forward(forward or "dr"), interface, outer, via, clients)
    shown = backend_host.show(vip, given, any_forward=forward is None, state_dir=state_dir, pin_dir=pin_dir)
    ready = all(finding.good for each in shown for finding in each.findings)
    if as_json:
        found = [{"forward": str(each.forward), **asdict(finding)} for each in shown for finding in each.findings]
        print_json({"ok": ready, "findings": found})
        return 0 if ready else 1
    for each in shown:
        _say_what_is_shown(each, state_dir, asked=forward is not None)
        for finding in each.findings:
            mark = coloured("ok") + "    " if finding.good else coloured("fail") + "  "
            paragraph(finding.text, before=mark, indent=6)
    return 0 if ready else 1


def _say_what_is_shown(shown: Shown, state_dir: Path, *, asked: bool) -> None:
    if shown.recorded:
        note(f"for {shown.forward}, as set up")
    elif not asked:
        note(f"for {shown.forward}: {state_dir} has no record of a setup; else give --forward or --state-dir")


@command.command(
    short_help="Put back what `setup` changed for a VIP.",
    epilog="\b\nExamples:\n  sudo xdplb backend-host undo 203.0.113.10",
)
@click.argument("vip", metavar="VIP", type=_vip_address)
@_state_dir_option
@pin_dir_option
@dry_run_option
@local_output_option
def undo(*, vip: IPAddress | IPNetwork, state_dir: Path, pin_dir: Path, dry_run: bool, as_json: bool) -> None:
    """Put back what `setup` changed for a VIP, except what another VIP still needs."""
    from xdplb.daemon import backend_host

    if dry_run:
        _preview(backend_host.preview_undo(vip, state_dir=state_dir, pin_dir=pin_dir), as_json)
        return
    undone = backend_host.undo(vip, state_dir=state_dir, pin_dir=pin_dir)
    none = f"nothing to restore for {vip}: {state_dir} notes no change for it; was it another --state-dir?"
    _tell("undone", undone, none, as_json)


def _how(
    forward: Forward,
    interface: str | None,
    outer: str | None,
    via: tuple[IPAddress, ...],
    clients: tuple[IPNetwork, ...],
) -> HostSetup:
    """Return how packets reach this host. Raises InvalidError for options that do not go together."""
    from xdplb.daemon.backend_host import HostSetup

    if forward is not Forward.NAT and (via or clients):
        raise InvalidError("--via and --clients are for nat", hint="add --forward nat, or leave them out")
    return HostSetup(forward, interface, _version(outer), via, clients)


def _version(family: str | None) -> int | None:
    """Return 4 for `ipv4`, 6 for `ipv6`."""
    return None if family is None else int(family[-1])


def _preview(steps: Sequence[PutBack], as_json: bool) -> None:
    """Say what would be restored and, on a terminal, what would stay and why."""
    tell_dry_run([step.text for step in steps if step.writes], as_json=as_json)
    if not as_json:
        for step in steps:
            if not step.writes:
                note(step.text)


def _tell(what: str, sentences: list[str], none: str, as_json: bool) -> None:
    if as_json:
        print_json({what: sentences})
        return
    for sentence in sentences or [none]:
        note(sentence)
