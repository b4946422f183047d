"""`xdplb up`: attach, serve the API, stay in the foreground."""

from __future__ import annotations

from contextlib import suppress
from ipaddress import ip_network
from pathlib import Path
from typing import TYPE_CHECKING

import click

from xdplb.model.address import IPNetwork
from xdplb.model.errors import NotFoundError, PlatformError

from .client import DEFAULT_SOCKET
from .params import mode_option, pin_dir_option

if TYPE_CHECKING:
    from xdplb.dataplane.plane import Capacity

__all__ = ["command"]


# What the loader takes; it is not asked, since it is not imported for --help.
_VIPS, _BACKENDS, _FLOWS = (click.IntRange(1, most) for most in (8192, 65534, 1 << 30))


def _networks(_context: click.Context, _parameter: click.Parameter, texts: tuple[str, ...]) -> tuple[IPNetwork, ...]:
    """Return the prefixes in `texts`, none for `off`; of a family given twice, the last one."""
    networks: dict[int, IPNetwork] = {}
    for text in texts:
        if text == "off":
            networks.clear()
            continue
        try:
            network = ip_network(text)
        except ValueError:
            raise click.BadParameter(
                f"{text!r} is no prefix; give one such as 10.200.0.0/16 or 2001:db8:200::/96, or off"
            ) from None
        networks[network.version] = network
    return tuple(networks.values())


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
    "tunnel_sources",
    multiple=True,
    callback=_networks,
    metavar="off|PREFIX",
    help="Outer source addresses of ipip and gue: the host's own (off), or one of PREFIX by flow, for RSS on the "
    "backends. May be given twice, once a family.  [off]",
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
    tunnel_sources: tuple[IPNetwork, ...],
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
            tunnel_sources=tunnel_sources,
        )
    )
