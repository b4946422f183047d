# SPDX-License-Identifier: Apache-2.0
"""Run iproute2's `ip`, for what is set up once and is shown to people in its words."""

from __future__ import annotations

import subprocess

from xdplb.model.errors import PlatformError

__all__ = ["ip", "succeeds"]


def ip(*arguments: str, version: int = 4) -> str:
    """Return what `ip -4` or `ip -6` prints. Raises PlatformError with ip's error message."""
    result = _run(arguments, version)
    if result.returncode:
        raise PlatformError(f"`{' '.join(result.args)}` failed: {result.stderr.strip()}", hint="this needs root")
    return result.stdout


def succeeds(*arguments: str, version: int = 4) -> bool:
    """Return whether the command succeeds. Raises PlatformError if `ip` is not installed."""
    return not _run(arguments, version).returncode


def _run(arguments: tuple[str, ...], version: int) -> subprocess.CompletedProcess[str]:
    command = ("ip", f"-{version}", *arguments)
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise PlatformError("the command `ip` is not installed", hint="apt-get install iproute2") from None
