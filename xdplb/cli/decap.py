"""`xdplb decap`: unwrap IPIP and GUE on a backend whose kernel has no tunnel modules."""

from __future__ import annotations

from pathlib import Path

import click

from xdplb.model.address import IPAddress, parse_address
from xdplb.model.errors import PlatformError

from .changes import tell_dry_run
from .groups import Group
from .output import note, print_json
from .params import dry_run_option, local_output_option, mode_option, pin_dir_option
from .privileges import require_privileges

__all__ = ["HostDecap", "command"]


class HostDecap:
    """Unwrapping on the NICs of this host, pinned in `pin_dir`: what `xdplb.net.backend_host` is given."""

    def __init__(self, pin_dir: Path) -> None:
        self._pin_dir = pin_dir

    def require(self) -> None:
        """Raise PlatformError unless this process may attach, its pins have a place and the host has an address."""
        from xdplb.dataplane import bpffs

        require_privileges("attaching to a NIC")
        bpffs.require(self._pin_dir)
        _host_addresses()

    def up(self, interface: str) -> None:
        """Unwrap on this NIC what comes to any address of this host's NICs."""
        from xdplb.dataplane.single import decap_up

        decap_up(interface, self._pin_dir, _host_addresses())

    def down(self, interface: str) -> None:
        """Unwrap no more; no error where it does not."""
        from xdplb.dataplane.single import decap_down

        decap_down(interface, self._pin_dir)

    def is_up(self, interface: str) -> bool:
        """Return whether it unwraps on this NIC."""
        from xdplb.dataplane.links import attachments
        from xdplb.dataplane.pins import DECAP

        return any(found.interface == interface for found in attachments(self._pin_dir / DECAP))


def _host_addresses() -> frozenset[IPAddress]:
    """Return the addresses of this host's NICs; those on lo are VIPs, which no outer header names."""
    from xdplb.net.links import addresses, names

    everything = {address.ip for name in names() if name != "lo" for address in addresses(name)}
    found = frozenset(address for address in everything if address.version == 4 or not address.is_link_local)
    if not found:
        raise PlatformError("this host's NICs have no IP address", hint="ip address add ADDRESS/PREFIX dev IFACE")
    return found


def _address(text: str) -> IPAddress:
    return parse_address(text)


@click.group(cls=Group, name="decap", short_help="On a backend: unwrap IPIP and GUE without a kernel module.")
def command() -> None:
    """Unwrap IPIP and GUE, of IPv4 and IPv6, on a backend, in XDP, where its kernel has no tunnel modules."""


@command.command(
    short_help="Unwrap IPIP and GUE on a NIC.",
    epilog="""\b
Examples:
  sudo xdplb decap up eth0
  sudo xdplb decap up eth0 --address 10.0.0.11 --address 2001:db8::11""",
)
@click.argument("interface", metavar="IFACE")
@click.option(
    "--address",
    "addresses",
    type=_address,
    metavar="ADDRESS",
    multiple=True,
    help="Unwrap only what is sent to this one; may be repeated. Default: any address of this host's NICs.",
)
@mode_option
@pin_dir_option
@dry_run_option
@local_output_option
def up(
    *, interface: str, addresses: tuple[IPAddress, ...], mode: str, pin_dir: Path, dry_run: bool, as_json: bool
) -> None:
    """Attach the decapsulating program to a NIC; it stays until `decap down`."""
    require_privileges("attaching to a NIC")
    already = HostDecap(pin_dir).is_up(interface)
    if dry_run:
        tell_dry_run([] if already else [f"IPIP and GUE are unwrapped on {interface}"], as_json=as_json)
        return
    from xdplb.dataplane.single import decap_up

    attached = decap_up(interface, pin_dir, frozenset(addresses) or _host_addresses(), mode=mode)
    if as_json:
        print_json({"interface": interface, "mode": attached.mode})
        return
    note(f"IPIP and GUE are unwrapped on {interface} ({attached.mode} mode)" + (" already" if already else ""))


@command.command(short_help="Unwrap them no more.", epilog="\b\nExamples:\n  sudo xdplb decap down eth0")
@click.argument("interface", metavar="IFACE")
@pin_dir_option
@dry_run_option
@local_output_option
def down(*, interface: str, pin_dir: Path, dry_run: bool, as_json: bool) -> None:
    """Detach the decapsulating program from a NIC; after the last one nothing of it is left."""
    require_privileges("detaching from a NIC")
    if dry_run:
        is_up = HostDecap(pin_dir).is_up(interface)
        tell_dry_run([f"IPIP and GUE are no longer unwrapped on {interface}"] if is_up else [], as_json=as_json)
        return
    from xdplb.dataplane.single import decap_down

    removed = decap_down(interface, pin_dir)
    if as_json:
        print_json({"removed": removed})
        return
    for what in removed:
        note(f"removed: {what}")
    if not removed:
        note(f"nothing to remove: IPIP and GUE are not unwrapped on {interface}")
