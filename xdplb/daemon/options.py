# SPDX-License-Identifier: Apache-2.0
"""What `xdplb up` was asked for, and what this host needs so that it can be done."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path

from xdplb.control.history.history import Retention
from xdplb.dataplane.compile import require_bcc
from xdplb.dataplane.links import find_nic
from xdplb.dataplane.plane import Capacity, Reading
from xdplb.model.address import IPNetwork
from xdplb.model.announcing import Announcing
from xdplb.model.decap import NO_DECAP, Decap
from xdplb.model.errors import NotFoundError, PlatformError
from xdplb.model.nic import DesiredNic
from xdplb.model.node import name_of_host
from xdplb.model.role import Role
from xdplb.net.links import link
from xdplb_api.limits import Limits
from xdplb_api.rights.tls import TlsFiles

from .privileges import require_privileges
from .sharing_options import PeerOptions, StoreOptions

__all__ = [
    "ApiOptions",
    "DaemonOptions",
    "Limits",
    "Otherwise",
    "Retention",
    "TlsFiles",
    "require_host",
]


class Otherwise(StrEnum):
    """What to do if the state does not belong to the maps, or is known to lack something: as the options are called."""

    ADOPT = "--adopt-maps"
    DISCARD = "--discard-maps"


@dataclass(frozen=True, slots=True)
class ApiOptions:
    """Where the API is served and to whom. `listen` has places such as unix:PATH or HOST:PORT.

    `metrics` are places for readers of metrics. Members of `socket_groups` have a role on the Unix socket, and client
    certificates by `client_roles`, with parts of their subjects. `hosts` are further names of the API on TCP.
    """

    listen: tuple[str, ...]
    metrics: tuple[str, ...] = ()
    socket_groups: tuple[tuple[Role, str], ...] = ()
    tls: TlsFiles | None = None
    client_roles: tuple[tuple[Role, str], ...] = ()
    hosts: tuple[str, ...] = ()
    limits: Limits = field(default_factory=Limits)


@dataclass(frozen=True, slots=True)
class DaemonOptions:
    """What `xdplb up` was asked for. `mode` is native, skb or auto, `api` says where the API is served, and to whom.

    `capacity` has the given ones of `vips`, `backends` and `flows`. Those that are not given stay as they are.
    `retention` says which events are kept. A state that does not belong to the maps is refused, unless there is an
    `otherwise`, and a program that differs from the one in use unless `accept_differences`. `config` is the config file
    that owns the VIPs and backends, None if the API does. `restore` is a backup to begin with, and
    `replaces_state` says whether it may take the place of a state with VIPs. `exec_checks` allows checks that run
    commands of this host, `counts_by_nic` has packets counted by NIC, and `notify` is the file that says who gets which
    events. `decap` says which tunnels end here. `node` is the name of this balancer
    among others, `url` where those reach its API (empty if they cannot), and `peers` how it talks to them, None if it
    does not. `store` is what it shares with them, None if it
    shares nothing. `announcing` is how it announces VIPs.
    """

    interfaces: tuple[str, ...]
    mode: str
    api: ApiOptions
    state_dir: Path
    pin_dir: Path
    capacity: Mapping[str, int] = field(default_factory=dict)
    tunnel_sources: tuple[IPNetwork, ...] = ()
    decap: Decap = NO_DECAP
    otherwise: Otherwise | None = None
    restore: Path | None = None
    replaces_state: bool = False
    config: Path | None = None
    accept_differences: bool = False
    exec_checks: bool = False
    counts_by_nic: bool = False
    notify: Path | None = None
    retention: Retention = field(default_factory=Retention)
    node: str = field(default_factory=name_of_host)
    store: StoreOptions | None = None
    announcing: Announcing = field(default_factory=Announcing)
    url: str = ""
    peers: PeerOptions | None = None

    @property
    def nics(self) -> tuple[DesiredNic, ...]:
        """The NICs to balance on."""
        return tuple(DesiredNic(name, self.mode) for name in self.interfaces)

    def capacity_after(self, reading: Reading | None) -> Capacity:
        """Return how much the maps will hold; `reading` is of those in use, None if there are none."""
        return Capacity(**self.capacity) if reading is None else replace(reading.capacity, **self.capacity)

    def with_real_names(self) -> DaemonOptions:
        """Return the same with each NIC once, by its own name: the kernel also takes alternative names for it."""
        return replace(self, interfaces=tuple(dict.fromkeys(_real_name(name) for name in self.interfaces)))


def _real_name(name: str) -> str:
    """Return the name of a NIC that may be called otherwise, too; `name` itself if there is none."""
    try:
        return find_nic(name).name
    except NotFoundError:
        return name


def require_host(options: DaemonOptions) -> None:
    """Raise PlatformError unless this process may attach, has bcc, and all NICs are Ethernet (lo and tunnels are not).

    A NIC that does not exist is no error here: loading reports it, if it is not left for later.
    """
    require_privileges("attaching to a NIC")
    require_bcc()  # now, and not when a change needs the compiler
    for name in options.interfaces:
        with suppress(NotFoundError):
            if not link(name).ethernet:
                raise PlatformError(
                    f"{name} is not an Ethernet interface", hint="xdplb works on Ethernet frames: name another NIC"
                )
