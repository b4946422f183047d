"""`xdplb up`: attach, serve the API, stay in the foreground."""

from __future__ import annotations

from contextlib import suppress
from ipaddress import AddressValueError, IPv4Network, NetmaskValueError
from pathlib import Path
from typing import TYPE_CHECKING

import click

from xdplb.model.errors import NotFoundError, PlatformError

from .client import DEFAULT_SOCKET
from .params import mode_option, pin_dir_option

if TYPE_CHECKING:
    from xdplb.dataplane.plane import Capacity

__all__ = ["command"]


# What the loader takes; it is not asked, since it is not imported for --help.
_VIPS, _BACKENDS, _FLOWS = (click.IntRange(1, most) for most in (8192, 65534, 1 << 30))


def _network(text: str) -> IPv4Network | None:
    """Return the prefix in `text`, None for `off`."""
    if text == "off":
        return None
    try:
        return IPv4Network(text)
    except (AddressValueError, NetmaskValueError, ValueError):
        raise click.BadParameter(f"{text!r} is no IPv4 prefix; give one such as 10.200.0.0/16, or off") from None


def _capacity(vips: int | None, backends: int | None, flows: int | None) -> Capacity | None:
    """Return the capacity asked for, None where nothing was said: then what is pinned already is taken as it is."""
    from xdplb.dataplane.plane import Capacity

    given = {"vips": vips, "backends": backends, "flows": flows}
    asked = {name: value for name, value in given.items() if value is not None}
    return Capacity(**asked) if asked else None


def _require_ethernet(interfaces: tuple[str, ...]) -> None:
    """Raise PlatformError where one of them has other frames than Ethernet's, as lo and tunnels have."""
    from xdplb.net.links import link

    for name in interfaces:
        with suppress(NotFoundError):  # loading says so, and which NICs there are
            if not link(name).ethernet:
                raise PlatformError(
                    f"{name} is no Ethernet interface", hint="xdplb works on Ethernet frames: name another NIC"
                )


@click.command(
    name="up",
    short_help="Attach to NICs and balance, in the foreground.",
    epilog="""\b
Examples:
  sudo xdplb up eth0
  sudo xdplb up eth0 eth1 --mode native --listen 127.0.0.1:8080
  sudo xdplb up eth0 --max-vips 4096 --max-backends 60000""",
)
@click.argument("interfaces", metavar="IFACE...", nargs=-1, required=True)
@mode_option
@click.option(
    "--listen",
    default=f"unix:{DEFAULT_SOCKET}",
    show_default=True,
    metavar="unix:PATH|HOST:PORT",
    help="Where the API is served.",
)
@click.option(
    "--state-dir",
    default="/var/lib/xdplb",
    show_default=True,
    type=click.Path(path_type=Path, file_okay=False),
    help="Where what was asked for is kept.",
)
@pin_dir_option
@click.option("--max-vips", type=_VIPS, metavar="N", help="How many VIPs there is room for.  [1024]")
@click.option("--max-backends", type=_BACKENDS, metavar="N", help="How many backends, of all VIPs.  [16384]")
@click.option("--max-flows", type=_FLOWS, metavar="N", help="How many recorded connections.  [1048576]")
@click.option(
    "--ipip-source",
    type=_network,
    metavar="off|PREFIX",
    default="off",
    show_default=True,
    help="Outer source addresses of IPIP: the host's own, or one of PREFIX by flow, for RSS on the backends.",
)
def command(
    *,
    interfaces: tuple[str, ...],
    mode: str,
    listen: str,
    state_dir: Path,
    pin_dir: Path,
    max_vips: int | None,
    max_backends: int | None,
    max_flows: int | None,
    ipip_source: IPv4Network | None,
) -> None:
    """Balance on these NICs: attach, serve the API, and stay in the foreground.

    What it attached outlives it: packets flow on while it is stopped, killed or upgraded, and `xdplb up` takes over
    where it was. Only `xdplb down` detaches.
    """
    from .privileges import require_privileges

    require_privileges("attaching to a NIC")
    _require_ethernet(interfaces)
    from .daemon import DaemonOptions, run

    run(
        DaemonOptions(
            interfaces=tuple(dict.fromkeys(interfaces)),  # one named twice is meant once
            mode=mode,
            listen=listen,
            state_dir=state_dir,
            pin_dir=pin_dir,
            capacity=_capacity(max_vips, max_backends, max_flows),
            ipip_source=ipip_source,
        )
    )
