"""What `xdplb up` was asked for, and what this host needs so that it can be done."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from xdplb.dataplane.plane import Capacity
from xdplb.model.address import IPNetwork
from xdplb.model.errors import NotFoundError, PlatformError
from xdplb.net.links import link

from .privileges import require_privileges

__all__ = ["DaemonOptions", "capacity", "require_host"]


@dataclass(frozen=True, slots=True)
class DaemonOptions:
    """What `xdplb up` was asked for. `capacity` None keeps the capacity of the pinned maps, if there are any.

    `mode` is native, skb or auto, `listen` is unix:PATH or HOST:PORT.
    """

    interfaces: tuple[str, ...]
    mode: str
    listen: str
    state_dir: Path
    pin_dir: Path
    capacity: Capacity | None = None
    tunnel_sources: tuple[IPNetwork, ...] = ()


def capacity(*, vips: int | None, backends: int | None, flows: int | None) -> Capacity | None:
    """Return the capacity asked for, with defaults for what is None; None if all are."""
    given = {"vips": vips, "backends": backends, "flows": flows}
    asked = {name: value for name, value in given.items() if value is not None}
    return Capacity(**asked) if asked else None


def require_host(options: DaemonOptions) -> None:
    """Raise PlatformError unless this process may attach and all NICs are Ethernet interfaces (lo and tunnels are not).

    A NIC that does not exist is no error here: loading reports it.
    """
    require_privileges("attaching to a NIC")
    for name in options.interfaces:
        with suppress(NotFoundError):
            if not link(name).ethernet:
                raise PlatformError(
                    f"{name} is not an Ethernet interface", hint="xdplb works on Ethernet frames: name another NIC"
                )
