# SPDX-License-Identifier: Apache-2.0
"""For which VIPs this host was set up as a backend, and how: what `backend-host show` checks. Kept in a file."""

from __future__ import annotations

import json
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from pathlib import Path

from xdplb.model.address import IPAddress, IPNetwork
from xdplb.model.errors import PlatformError
from xdplb.model.vip import Forward

from .json_file import write_json
from .undo_log import VipHost

__all__ = ["HostSetup", "SetupLog"]


@dataclass(frozen=True, slots=True)
class HostSetup:
    """How packets of a VIP reach this host, and how its answers leave.

    `interface` is the NIC that the packets come in by, by default that of the default route, or of the way to `via`.
    `outer` is the IP version of the address that the balancer sends to, by default the VIP's. For nat, answers to
    `clients` (networks; none: all) leave by the balancers at `via`.
    """

    forward: Forward
    interface: str | None = None
    outer: int | None = None
    via: tuple[IPAddress, ...] = ()
    clients: tuple[IPNetwork, ...] = ()


class SetupLog:
    """The setups by VIP. Raises PlatformError if the file is damaged or may not be read."""

    def __init__(self, state_dir: Path) -> None:
        self._path = state_dir / "backend-host-setups.json"
        try:
            read = json.loads(self._path.read_text())
            self._setups = {vip: [_setup(each) for each in found] for vip, found in read.items()}
        except (FileNotFoundError, NotADirectoryError):
            self._setups = {}
        except PermissionError:
            raise PlatformError(f"{self._path} may not be read by this user", hint="run it with sudo") from None
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise PlatformError(
                f"{self._path} cannot be read: {error}",
                hint="it lists how this host was set up: remove it, and run xdplb backend-host setup again",
            ) from error

    def of(self, vip: VipHost) -> tuple[HostSetup, ...]:
        """Return how this host was set up for a VIP; several if packets reach it in several ways."""
        return tuple(self._setups.get(str(vip), ()))

    def note(self, vip: VipHost, setup: HostSetup) -> None:
        """Note a setup. It replaces one for the same kind of forwarding."""
        others = [each for each in self.of(vip) if each.forward is not setup.forward]
        self._setups[str(vip)] = [*others, setup]
        self._write()

    def forget(self, vip: VipHost) -> None:
        """Forget the setups for a VIP."""
        if self._setups.pop(str(vip), None) is not None:
            self._write()

    def _write(self) -> None:
        write_json(self._path, {vip: [_fields(each) for each in found] for vip, found in self._setups.items()})


def _fields(setup: HostSetup) -> dict[str, object]:
    """Return a setup as the file has it: without what only nat has, if it is none."""
    fields: dict[str, object] = {"forward": setup.forward, "interface": setup.interface, "outer": setup.outer}
    for name, values in (("via", setup.via), ("clients", setup.clients)):
        if values:
            fields[name] = [str(value) for value in values]
    return fields


def _setup(fields: dict[str, object]) -> HostSetup:
    interface, outer = fields["interface"], fields["outer"]
    via, clients = fields.get("via", []), fields.get("clients", [])
    if (
        not (interface is None or isinstance(interface, str))
        or not (outer is None or isinstance(outer, int))
        or not (isinstance(via, list) and isinstance(clients, list))
    ):
        raise ValueError("a setup has values of the wrong type")
    return HostSetup(
        Forward(str(fields["forward"])),
        interface,
        outer,
        tuple(ip_address(str(each)) for each in via),
        tuple(ip_network(str(each)) for each in clients),
    )
