"""`xdplb backend-host`: prepare the host of a backend for a VIP."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click

from xdplb.model.address import IPAddress, IPNetwork
from xdplb.model.errors import InvalidError
from xdplb.model.vip import Forward, Protocol, VipKey

from .changes import tell_dry_run
from .decap import HostDecap
from .groups import Group
from .output import colour_wanted, note, print_json, state
from .params import dry_run_option, local_output_option, pin_dir_option
from .privileges import require_privileges

if TYPE_CHECKING:
    from xdplb.net.backend_host import PutBack

__all__ = ["command"]

_Command = TypeVar("_Command", bound=Callable[..., object])


def _vip_address(text: str) -> IPAddress | IPNetwork:
    """Return the address or the prefix of a VIP; on its backend's host that is all that counts."""
    try:
        key = VipKey.parse(text)
    except InvalidError:
        key = VipKey.of(text, 0, Protocol.BOTH)
    return key.address if key.is_one_address else key.network


def _host_options(function: _Command) -> _Command:
    """Add what says how packets reach this host."""
    for option in (
        click.option("--interface", metavar="IFACE", help="The NIC they come in by. Default: the default route's."),
        click.option(
            "--outer",
            type=click.Choice(["ipv4", "ipv6"]),
            help="The family of the address that the balancer sends to, for ipip and gue. Default: the VIP's.",
        ),
        click.option(
            "--forward",
            type=click.Choice([str(forward) for forward in Forward]),
            default="dr",
            show_default=True,
            help="How the balancer forwards to it.",
        ),
        click.argument("vip", metavar="VIP", type=_vip_address),
    ):
        function = option(function)
    return function


_state_dir_option = click.option(
    "--state-dir",
    default="/var/lib/xdplb",
    show_default=True,
    type=click.Path(path_type=Path, file_okay=False),
    help="Where what was there before is noted.",
)


@click.group(cls=Group, name="backend-host", short_help="On a backend: prepare it for a VIP.")
def command() -> None:
    """Prepare this host as a backend of a VIP: address on lo, ARP quiet, rp_filter, tunnel."""


@command.command(
    epilog="""\b
Examples:
  sudo xdplb backend-host setup 203.0.113.10:443/tcp
  sudo xdplb backend-host setup 203.0.113.10 --forward ipip --interface eth0
  sudo xdplb backend-host setup 2001:db8::10 --forward gue --outer ipv4"""
)
@_host_options
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
    state_dir: Path,
    pin_dir: Path,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Make this host ready for a VIP and say what was changed. It does not outlive a reboot."""
    from xdplb.net import backend_host

    decap = HostDecap(pin_dir)
    if dry_run:
        findings = backend_host.show(vip, Forward(forward), decap=decap, interface=interface, outer=_version(outer))
        tell_dry_run([finding.text for finding in findings if not finding.good], as_json=as_json)
        return
    require_privileges("changing this host's network settings")
    _must_be_there(interface)
    changed = backend_host.setup(
        vip, Forward(forward), decap=decap, state_dir=state_dir, interface=interface, outer=_version(outer)
    )
    _tell("changed", changed, f"nothing to change: this host is ready for {vip}", as_json)


@command.command(
    short_help="Show what a VIP needs of this host and whether it is so.",
    epilog="\b\nExamples:\n  xdplb backend-host show 203.0.113.10 --forward ipip",
)
@_host_options
@pin_dir_option
@local_output_option
def show(
    *,
    vip: IPAddress | IPNetwork,
    forward: str,
    outer: str | None,
    interface: str | None,
    pin_dir: Path,
    as_json: bool,
) -> int:
    """Show what a VIP needs of this host and whether it is so; exit 1 when something is not."""
    from xdplb.net import backend_host

    _must_be_there(interface)
    findings = backend_host.show(
        vip, Forward(forward), decap=HostDecap(pin_dir), interface=interface, outer=_version(outer)
    )
    ready = all(finding.good for finding in findings)
    if as_json:
        print_json({"ok": ready, "findings": [asdict(finding) for finding in findings]})
    else:
        for finding in findings:
            mark = state("ok") + "   " if finding.good else state("fail") + " "
            click.echo(f"{mark} {finding.text}", color=colour_wanted())
    return 0 if ready else 1


@command.command(epilog="\b\nExamples:\n  sudo xdplb backend-host undo 203.0.113.10")
@click.argument("vip", metavar="VIP", type=_vip_address)
@_state_dir_option
@pin_dir_option
@dry_run_option
@local_output_option
def undo(*, vip: IPAddress | IPNetwork, state_dir: Path, pin_dir: Path, dry_run: bool, as_json: bool) -> None:
    """Put back what `setup` changed for a VIP and no other VIP needs."""
    from xdplb.net import backend_host

    decap = HostDecap(pin_dir)
    if dry_run:
        _foretell(backend_host.foretell_undo(vip, decap=decap, state_dir=state_dir), as_json)
        return
    require_privileges("changing this host's network settings")
    undone = backend_host.undo(vip, decap=decap, state_dir=state_dir)
    _tell("undone", undone, f"nothing to put back for {vip}", as_json)


def _version(family: str | None) -> int | None:
    """Return 4 or 6 of `ipv4` or `ipv6`."""
    return None if family is None else int(family[-1])


def _must_be_there(interface: str | None) -> None:
    """Raise NotFoundError, which names the NICs there are, where there is none of that name."""
    if interface is not None:
        from xdplb.net.links import link

        link(interface)


def _foretell(steps: Sequence[PutBack], as_json: bool) -> None:
    """Say what would be put back and, to people, what would stay and why."""
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
