# SPDX-License-Identifier: Apache-2.0
"""The BPF file system of the pins: whether a folder is in one, and why not."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

from xdplb.model.errors import PlatformError
from xdplb.private_files import open_private_folder, require_trusted

__all__ = ["is_bpffs", "mounts", "prepare", "remove_directory", "require"]

DEFAULT_MOUNT = Path("/sys/fs/bpf")


def is_bpffs(folder: Path) -> bool:
    """Whether `folder`, or the nearest folder above it that exists, lies in a bpffs that this process sees."""
    existing = folder.absolute()
    while not existing.exists():
        existing = existing.parent
    device = existing.stat().st_dev
    wanted = f"{os.major(device)}:{os.minor(device)}"
    return any(mounted == wanted and kind == "bpf" for mounted, _, kind, _ in _mountinfo())


def mounts() -> list[Path]:
    """Return where a bpffs is mounted."""
    return [Path(place) for _, place, kind, _ in _mountinfo() if kind == "bpf"]


def _mountinfo() -> Iterator[tuple[str, str, str, str]]:
    """Yield device (major:minor), mount point, type and source of each file system in sight, see proc(5)."""
    for line in Path("/proc/thread-self/mountinfo").read_text().splitlines():
        fields, _, described = line.partition(" - ")
        _, _, device, _, place, *_ = fields.split()
        kind, source, *_ = described.split()
        yield device, place.encode().decode("unicode_escape"), kind, source


def require(pin_dir: Path) -> None:
    """Raise PlatformError, whose hint says what to do, if `pin_dir` is not in a bpffs."""
    if not _is_reachable(pin_dir):
        raise PlatformError(f"this process may not read the folder of {pin_dir}", hint="run it as root")
    namespace = _entered_namespace()
    if namespace is not None and pin_dir.absolute().is_relative_to("/sys"):
        raise PlatformError(
            f"`ip netns exec` hides {DEFAULT_MOUNT}, and pins made there are lost when the command ends",
            hint=f"enter only the network namespace: nsenter --net=/run/netns/{namespace} xdplb ...",
        )
    if not is_bpffs(pin_dir):
        raise PlatformError(
            f"{pin_dir} is not in a BPF file system",
            hint=f"mount -t bpf bpf {DEFAULT_MOUNT}, or give a folder in a bpffs with --pin-dir",
        )


def _is_reachable(path: Path) -> bool:
    try:
        path.exists()
    except PermissionError:
        return False
    return True


def _entered_namespace() -> str | None:
    """Return the network namespace that `ip netns exec` was given: it mounts a /sys whose source has that name."""
    names = [source for _, place, kind, source in _mountinfo() if (place, kind) == ("/sys", "sysfs")]
    return names[-1] if names and (Path("/run/netns") / names[-1]).exists() else None


def prepare(pin_dir: Path) -> None:
    """Make `pin_dir`, for root only, in a bpffs; repair the mode of one that exists.

    Raises PlatformError if it is another user's, or if others could put their pins in the place of these.
    """
    require(pin_dir)
    require_trusted(pin_dir.parent, f"the pins in {pin_dir}")
    if os.path.ismount(pin_dir):  # others use it too, and its mode is not ours to change
        return require_trusted(pin_dir, "the pins")
    try:
        return os.close(open_private_folder(pin_dir.resolve()))
    except OSError as error:
        raise PlatformError(
            f"the pin dir {pin_dir} cannot be created: {error.strerror}",
            hint="mount -o remount,rw the bpffs"
            if error.errno == errno.EROFS
            else "run it as root, or choose another --pin-dir",
        ) from error


def remove_directory(pin_dir: Path) -> bool:
    """Remove the folder if it is empty; False if it stays: it is not empty, or it is the mount itself."""
    try:
        pin_dir.rmdir()
    except OSError:
        return False
    return True
