# SPDX-License-Identifier: Apache-2.0
"""Events of the config file that owns the desired state."""

from __future__ import annotations

from dataclasses import dataclass

from xdplb.control.events.actor import Actor
from xdplb.control.events.base import Event, Level

__all__ = ["ConfigRefused", "ConfigReleased", "ConfigTaken", "ReloadedWithoutConfig"]


@dataclass(frozen=True, slots=True)
class ConfigTaken(Event):
    """The desired state is what a config file says. `vips` and the other numbers are of VIPs and of backends.

    `removed` names the VIPs that were there before and are not in the file. `overlay` is how many backends an operator
    has set otherwise.
    """

    KIND = "config_taken"
    TITLE = "config taken"
    LEVEL = Level.NOTICE
    actor: Actor
    file: str
    generation: int
    vips: int
    added: int
    changed: int
    removed: tuple[str, ...]
    overlay: int

    def line(self) -> str:
        """Return the log line: with many VIPs removed, only some of them."""
        more = len(self.removed) - _SHOWN
        removed = " ".join(self.removed[:_SHOWN]) + (f" and {more} more" if more > 0 else "") or "none"
        return (
            f"{self.TITLE}: actor={self.actor} file={self.file} generation={self.generation} vips={self.vips}"
            f" added={self.added} changed={self.changed} overlay={self.overlay} removed: {removed}"
        )


@dataclass(frozen=True, slots=True)
class ConfigRefused(Event):
    """A config file was read again, and cannot be used. What runs goes on as it is."""

    KIND = "config_refused"
    TITLE = "config refused, and what runs goes on"
    LEVEL = Level.ERROR
    actor: Actor
    file: str
    error: str


@dataclass(frozen=True, slots=True)
class ConfigReleased(Event):
    """The daemon was started without the config file that has owned the state: the API does so from here on.

    `overlay` is how many backends have another weight or admin state than the file said, which stay as they are.
    """

    KIND = "config_released"
    TITLE = "config released: without --config the API owns what the file has declared"
    LEVEL = Level.WARNING
    file: str
    vips: int
    overlay: int


@dataclass(frozen=True, slots=True)
class ReloadedWithoutConfig(Event):
    """The daemon was asked to reload, and has no config file."""

    KIND = "reloaded"
    TITLE = "reloaded: there is no config file to read again, since up has no --config"
    actor: Actor


_SHOWN = 20
