# SPDX-License-Identifier: Apache-2.0
"""What xdplb needs of the host: privileges, kernel, compiler, headers, bpffs."""

from __future__ import annotations

import ctypes
import os
import platform
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from xdplb.daemon.privileges import missing_capabilities
from xdplb.dataplane import kernel_headers
from xdplb.dataplane.bpffs import require
from xdplb.dataplane.single import decap_counters
from xdplb.model.errors import PlatformError

from .finding import Finding, fail, ok, warn

__all__ = ["bcc", "bpffs", "decap", "examine_host", "headers", "jit", "kernel", "libbpf", "privileges"]

OLDEST_KERNEL = (5, 15)
_BCC_SCRIPT = "import bcc; print(bcc.__file__, getattr(bcc, '__version__', '?') if hasattr(bcc, 'BPF') else '')"
_BCC_FIX = "apt-get install python3-bpfcc, and a venv made by: /usr/bin/python3 -m venv --system-site-packages"


def examine_host(pin_dir: Path) -> Iterator[Finding]:
    """Yield a finding for each thing that xdplb needs of the host; `pin_dir` is where it will pin its maps."""
    yield privileges(missing_capabilities())
    yield kernel(platform.release())
    yield libbpf()
    yield bcc(sys.executable)
    yield headers(kernel_headers.find)
    yield jit(Path("/proc/sys/net/core/bpf_jit_enable"))
    yield bpffs(pin_dir)
    yield from decap(pin_dir)


def decap(pin_dir: Path) -> Iterator[Finding]:
    """Yield the counters of this host's decapsulation, if it is up."""
    try:
        counts = {name: count for name, count in decap_counters(pin_dir).items() if count}
    except (PlatformError, OSError):
        return  # without the privileges to read them; `privileges` reports that
    told = ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in counts.items())
    if any(name.startswith("drop_") for name in counts):
        yield warn("decap", told, "what each of them means: docs/tunnels.md")
    elif counts:
        yield ok("decap", told)


def privileges(missing: list[str]) -> Finding:
    """Report the capabilities this process lacks."""
    if missing:
        return fail("privileges", f"this process lacks {', '.join(missing)}", "run it with sudo")
    return ok("privileges", "may load and attach XDP programs")


def kernel(release: str) -> Finding:
    """Check a kernel release such as 6.1.0-18-amd64."""
    match = re.match(r"(\d+)\.(\d+)", release)
    oldest = ".".join(map(str, OLDEST_KERNEL))
    if match is None or (int(match[1]), int(match[2])) < OLDEST_KERNEL:
        return fail("kernel", f"this is Linux {release}; xdplb needs {oldest} or later", "install a newer kernel")
    return ok("kernel", f"Linux {release}")


def libbpf(name: str = "libbpf.so.1") -> Finding:
    """Check whether libbpf can be loaded."""
    try:
        ctypes.CDLL(name)
    except OSError as error:
        return fail("libbpf", f"{name} cannot be loaded: {error}", "apt-get install libbpf1")
    return ok("libbpf", name)


def bcc(python: str) -> Finding:
    """Check in a child whether bcc can be imported, as the compiler process does: this one must not load LLVM."""
    child = subprocess.run([python, "-P", "-c", _BCC_SCRIPT], capture_output=True, text=True, check=False, timeout=60)
    if child.returncode != 0:
        reason = child.stderr.strip().rpartition("\n")[2] or "it cannot be imported"
        return fail("bcc", f"{python} has no bcc: {reason}", _BCC_FIX)
    where, _, version = child.stdout.strip().partition(" ")
    if not version:
        return fail("bcc", f"{where} is another project called bcc, from PyPI", f"pip uninstall bcc; then {_BCC_FIX}")
    return ok("bcc", f"{version} in {Path(where).parent}")


def headers(find: Callable[[], Path | None]) -> Finding:
    """Look for kernel headers where the compiler does."""
    try:
        folder = find()
    except PlatformError as error:
        return fail("kernel headers", error.detail, error.hint)
    return ok("kernel headers", f"merged in {folder}" if folder else "those of the running kernel")


def jit(setting: Path) -> Finding:
    """Check whether BPF programs are compiled to machine code; only root may read that."""
    try:
        enabled = setting.read_text(encoding="ascii").strip() != "0"
    except FileNotFoundError:
        return ok("BPF JIT", "there is no setting for it: it is always on, or this is a network namespace")
    except OSError:
        return warn("BPF JIT", "unknown: the setting cannot be read", "run doctor as root")
    if enabled:
        return ok("BPF JIT", "on")
    return warn("BPF JIT", "off: each packet costs several times as much", "sysctl -w net.core.bpf_jit_enable=1")


def bpffs(pin_dir: Path) -> Finding:
    """Check whether `pin_dir`, or the nearest folder above it that exists, can hold pins."""
    try:
        require(pin_dir)
    except PlatformError as error:
        return fail("bpffs", error.detail, error.hint)
    present = next(folder for folder in (pin_dir.absolute(), *pin_dir.absolute().parents) if folder.exists())
    if os.statvfs(present).f_flag & os.ST_RDONLY:
        return fail("bpffs", f"the bpffs at {present} is read-only", f"mount -o remount,rw {present}")
    return ok("bpffs", f"{pin_dir} is in a BPF file system")
