"""Which capabilities this process has."""

from __future__ import annotations

from pathlib import Path

from xdplb.model.errors import PlatformError

__all__ = ["missing_capabilities", "require_privileges"]

# CAP_BPF and CAP_PERFMON are not enough: only CAP_SYS_ADMIN, which includes them, may open BPF objects by id.
_NEEDED = {"CAP_NET_ADMIN": 12, "CAP_SYS_ADMIN": 21}


def missing_capabilities(status: Path = Path("/proc/self/status")) -> list[str]:
    """Return the capabilities that loading and attaching XDP needs and this process lacks."""
    line = next(line for line in status.read_text(encoding="ascii").splitlines() if line.startswith("CapEff:"))
    effective = int(line.split()[1], 16)
    return [name for name, bit in _NEEDED.items() if not effective >> bit & 1]


def require_privileges(doing: str) -> None:
    """Raise PlatformError if this process lacks a capability. `doing` is what needs it, as `attaching to a NIC`."""
    missing = missing_capabilities()
    if missing:
        raise PlatformError(f"{doing} needs root (it lacks {', '.join(missing)})", hint="run it with sudo")
