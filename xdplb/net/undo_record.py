"""What was changed on a backend's host, for which VIPs, and what was there before. Kept in a file."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path

from xdplb.model.address import IPAddress, IPNetwork
from xdplb.model.errors import PlatformError

__all__ = ["Change", "UndoRecord", "VipHost"]

VipHost = IPAddress | IPNetwork
"""What of a VIP concerns the hosts of its backends: its address, or all of its prefix."""


@dataclass(slots=True)
class Change:
    """A setting that was `before` and was made `after`, and the VIPs that need it so."""

    key: str
    before: str
    after: str
    vips: list[str] = field(default_factory=list)


class UndoRecord:
    """The changes, oldest first. Every method that changes it has written the file when it returns."""

    def __init__(self, state_dir: Path) -> None:
        self._path = state_dir / "backend-host.json"
        try:
            self._changes = [Change(**entry) for entry in json.loads(self._path.read_text())]
        except FileNotFoundError:
            self._changes = []
        except (ValueError, TypeError) as error:
            raise PlatformError(
                f"{self._path} cannot be read: {error}",
                hint="it says what to undo on this host: put it right, or remove it and undo by hand",
            ) from error

    def of(self, vip: VipHost) -> list[Change]:
        """Return the changes this VIP needs, newest first: the order to undo them in."""
        return [change for change in reversed(self._changes) if str(vip) in change.vips]

    def note(self, vip: VipHost, key: str, before: str, after: str) -> None:
        """Note a change that is about to be made; what was there before the first one is what counts."""
        change = next((found for found in self._changes if found.key == key), None)
        if change is None:
            change = Change(key, before, after)
            self._changes.append(change)
        change.after = after
        if str(vip) not in change.vips:
            change.vips.append(str(vip))
        self._write()

    def share(self, vip: VipHost, key: str) -> None:
        """Note that this VIP too needs a setting as it is, if it was us who made it so."""
        for change in self._changes:
            if change.key == key and str(vip) not in change.vips:
                change.vips.append(str(vip))
                self._write()

    def forget(self, vip: VipHost, change: Change) -> None:
        """Note that this VIP no longer needs a change; it goes with the last one."""
        change.vips.remove(str(vip))
        if not change.vips:
            self._changes.remove(change)
        self._write()

    def _write(self) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        draft = self._path.with_suffix(".new")
        with draft.open("w") as file:
            json.dump([asdict(change) for change in self._changes], file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(self._path)
