# SPDX-License-Identifier: Apache-2.0
"""What `backend-host setup` changed on this host, for which VIPs, and the values before. Kept in a file."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

from xdplb.model.address import IPAddress, IPNetwork
from xdplb.model.errors import PlatformError

from .json_file import write_json

__all__ = ["UndoEntry", "UndoLog", "VipHost"]

VipHost = IPAddress | IPNetwork
"""The part of a VIP that its backends' hosts must have: its address, or its whole prefix."""


@dataclass(slots=True)
class UndoEntry:
    """A setting that was `before` and was set to `after`, and the VIPs that need it."""

    key: str
    before: str
    after: str
    vips: list[str] = field(default_factory=list)


class UndoLog:
    """The entries, oldest first. Every method that changes them has written the file when it returns.

    Raises PlatformError if the file is damaged.
    """

    def __init__(self, state_dir: Path) -> None:
        self._path = state_dir / "backend-host.json"
        try:
            self._entries = [UndoEntry(**entry) for entry in json.loads(self._path.read_text())]
        except FileNotFoundError:
            self._entries = []
        except (ValueError, TypeError) as error:
            raise PlatformError(
                f"{self._path} cannot be read: {error}",
                hint="it lists the settings to undo on this host: repair it, or remove it and undo them by hand",
            ) from error

    def of(self, vip: VipHost) -> list[UndoEntry]:
        """Return the entries of this VIP, newest first: the order to undo them in."""
        return [entry for entry in reversed(self._entries) if str(vip) in entry.vips]

    def note(self, vip: VipHost, key: str, before: str, after: str) -> None:
        """Note a setting that is about to be changed. If it is noted already, its first `before` is kept."""
        entry = next((found for found in self._entries if found.key == key), None)
        if entry is None:
            entry = UndoEntry(key, before, after)
            self._entries.append(entry)
        entry.after = after
        if str(vip) not in entry.vips:
            entry.vips.append(str(vip))
        self._write()

    def share(self, vip: VipHost, key: str) -> None:
        """Note that this VIP also needs a setting as it is, if it was set by us."""
        for entry in self._entries:
            if entry.key == key and str(vip) not in entry.vips:
                entry.vips.append(str(vip))
                self._write()

    def forget(self, vip: VipHost, entry: UndoEntry) -> None:
        """Note that this VIP no longer needs the entry, and remove it if no VIP does."""
        entry.vips.remove(str(vip))
        if not entry.vips:
            self._entries.remove(entry)
        self._write()

    def _write(self) -> None:
        write_json(self._path, [asdict(entry) for entry in self._entries])
