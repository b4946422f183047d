"""What this process may do."""

from __future__ import annotations

from pathlib import Path

from xdplb.model.errors import PlatformError

__all__ = ["missing_capabilities", "require_privileges"]

_SYS_ADMIN = 21
_NEEDED = {"CAP_NET_ADMIN": 12, "CAP_BPF": 39, "CAP_PERFMON": 38}


def missing_capabilities(status: Path = Path("/proc/self/status")) -> list[str]:
    """Return the names of the capabilities that loading and attaching XDP needs and this process has not."""
    line = next(line for line in status.read_text(encoding="ascii").splitlines() if line.startswith("CapEff:"))
    effective = int(line.split()[1], 16)
    implied = {"CAP_BPF", "CAP_PERFMON"} if effective >> _SYS_ADMIN & 1 else set()
    return [name for name, bit in _NEEDED.items() if not effective >> bit & 1 and name not in implied]


def require_privileges(doing: str) -> None:
    """Raise PlatformError where this process may not do what needs root, `doing` being what was asked."""
    missing = missing_capabilities()
    if missing:
        raise PlatformError(f"{doing} needs root (it lacks {', '.join(missing)})", hint="run it with sudo")
