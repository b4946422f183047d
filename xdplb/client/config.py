# SPDX-License-Identifier: Apache-2.0
"""What can be asked about the configuration as a whole."""

from __future__ import annotations

from typing import Unpack

from .answer import Answer
from .bodies import ChangesIn, Config, ConfigChangedOut, ConfigOut, OverlayListOut
from .paths import backend_path
from .transport import How, Transport

__all__ = ["Configuration"]

_CONFIG = "/v1/config"
_OVERLAY = f"{_CONFIG}/overlay"


class Configuration:
    """The whole desired state in one document, and what operators have laid over a config file."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def get(self) -> Answer[ConfigOut]:
        """Return the whole desired state. Sent back, it changes nothing."""
        return self._transport.request("GET", _CONFIG)

    def put(self, config: Config, *, clear_overlay: bool = False, **how: Unpack[How]) -> Answer[ConfigChangedOut]:
        """Make the desired state what `config` says, in one step: what is not in it is removed.

        With `clear_overlay`, what operators have laid over a config file ends in the same step.
        """
        return self._transport.change("PUT", _clearing(_CONFIG, clear_overlay), config, how)

    def edit(self, changes: ChangesIn, **how: Unpack[How]) -> Answer[ConfigChangedOut]:
        """Make several edits in one step, in their order: all of them, or none."""
        return self._transport.change("POST", "/v1/changes", changes, how)

    def reload(self, *, clear_overlay: bool = False) -> Answer[ConfigChangedOut]:
        """Have the daemon read its config file again, as `systemctl reload` does; see `put` for `clear_overlay`.

        Raises ConflictError if it has none, and InvalidError, with the line, if the file is wrong: what runs goes on.
        """
        return self._transport.change("POST", _clearing(f"{_CONFIG}/reload", clear_overlay), None, {})

    def overlay(self) -> Answer[OverlayListOut]:
        """Return which backends have another weight or admin state than the config file says."""
        return self._transport.request("GET", _OVERLAY)

    def clear_overlay(self, **how: Unpack[How]) -> Answer[None]:
        """Make all weights and admin states what the config file says."""
        return self._transport.change("DELETE", _OVERLAY, None, how)

    def clear_overlay_of(self, vip: str, address: str, **how: Unpack[How]) -> Answer[None]:
        """Make the weight and the admin state of one backend what the config file says."""
        return self._transport.change("DELETE", backend_path(vip, address, "overlay"), None, how)


def _clearing(path: str, clear_overlay: bool) -> str:
    return f"{path}?clear_overlay=true" if clear_overlay else path
