# SPDX-License-Identifier: Apache-2.0
"""Finds kernel headers that bcc can use.

The packet path includes only `uapi/` headers, which are the same for every kernel, so that headers of another version
than the one that runs will do. Debian splits its headers in two folders, `-common` and `-amd64`, and bcc takes only
one: the two are merged as a tree of symlinks.
"""

from __future__ import annotations

import os
import platform
import re
import tempfile
from contextlib import suppress
from pathlib import Path

from xdplb.model.errors import PlatformError
from xdplb.private_files import open_private_folder

__all__ = ["DEBIAN_ARCHITECTURE", "find", "merge", "scratch"]

DEBIAN_ARCHITECTURE = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())

CACHES = (Path("/var/cache/xdplb"), Path("/run/xdplb/cache"))
"""Where merged headers are kept; the second is for hosts whose /var is read-only. Never in /tmp: others write there."""


def find(
    cache_dir: Path | None = None,
    *,
    modules: Path = Path("/lib/modules"),
    sources: Path = Path("/usr/src"),
    kheaders: Path = Path("/sys/kernel/kheaders.tar.xz"),
) -> Path | None:
    """Return the folder for BCC_KERNEL_SOURCE, None if bcc finds the headers by itself.

    A merged tree is kept in `cache_dir`, or else in the first of CACHES that can be written. PlatformError, with the
    command that installs them, if there are none.
    """
    given = os.environ.get("BCC_KERNEL_SOURCE")
    if given:
        return _checked(Path(given))
    build = modules / platform.release() / "build"
    if (build / "include").is_dir() or kheaders.exists():
        return None
    pair = _debian_pair(sources)
    if pair is None:
        raise PlatformError(
            "kernel headers are needed to compile the packet path, and none were found",
            hint=f"apt-get install linux-headers-{DEBIAN_ARCHITECTURE} (of any version), or set BCC_KERNEL_SOURCE",
        )
    common, flavour = pair
    return _merged(common, flavour, cache_dir)


def _checked(folder: Path) -> Path:
    if (folder / "include").is_dir():
        return folder
    raise PlatformError(
        f"BCC_KERNEL_SOURCE is {folder}, which has no kernel headers",
        hint="unset it, or give a folder with include/ and arch/ in it",
    )


def _debian_pair(sources: Path) -> tuple[Path, Path] | None:
    """Return the newest pair of `-common` and architecture folders that belong together."""
    pairs = []
    for common in sources.glob("linux-headers-*-common"):
        flavour = common.with_name(common.name.removesuffix("-common") + f"-{DEBIAN_ARCHITECTURE}")
        if (common / "include" / "uapi").is_dir() and flavour.is_dir():
            pairs.append((common, flavour))
    return max(pairs, key=lambda pair: _version(pair[0]), default=None)


def _version(folder: Path) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", folder.name))


def scratch(cache_dir: Path | None = None) -> Path | None:
    """Return a folder of root's own for what bcc unpacks, which it else does in /tmp; None if there is none."""
    for folder in filter(None, (cache_dir, *CACHES)):
        with suppress(OSError, PlatformError):
            os.close(open_private_folder(folder))
            if os.access(folder, os.W_OK):
                return folder
    return None


def _merged(common: Path, flavour: Path, cache_dir: Path | None) -> Path:
    failure = ""
    for folder in filter(None, (cache_dir, *CACHES)):
        try:
            os.close(open_private_folder(folder))
            return merge(common, flavour, folder / f"headers-{flavour.name.removeprefix('linux-headers-')}")
        except PlatformError as error:
            failure = error.detail  # what somebody else may have made is not to be compiled from
        except OSError as error:
            failure = str(error)
    raise PlatformError(
        f"the kernel headers could not be merged: {failure}",
        hint=f"make {CACHES[0]} a writable folder of root's, with free space",
    )


def merge(common: Path, flavour: Path, target: Path) -> Path:
    """Make `target` a tree of symlinks to both folders, `flavour` first, and return it; kept if it is there already."""
    if target.is_dir():
        return target
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".headers-") as scratch:
        tree = Path(scratch) / "tree"
        _link([flavour, common], tree)
        try:
            tree.rename(target)
        except OSError:
            if not target.is_dir():  # else another process was first, with the same content
                raise
    return target


def _link(origins: list[Path], target: Path) -> None:
    """Link what only one origin has; where several have a folder of that name, make one and go into it."""
    target.mkdir()
    for name in sorted({entry.name for origin in origins for entry in origin.iterdir()}):
        holders = [origin / name for origin in origins if (origin / name).exists()]
        folders = [holder for holder in holders if holder.is_dir()]
        if len(folders) > 1:
            _link(folders, target / name)
        elif holders:
            (target / name).symlink_to(holders[0])
