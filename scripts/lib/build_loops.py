"""Compiles the loops of xdplb/balance whenever xdplb is built or installed; a build hook of hatchling (pyproject.toml).

They need no header of the C library. Without a compiler xdplb is built all the same, and slower.
"""

from __future__ import annotations

import os
import subprocess
import sysconfig
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

_OPTIONS = ("-O2", "-shared", "-fPIC", "-nostdlib", "-ffreestanding")
_SOURCES = ("fill.c", "slots.c")


class LoopsHook(BuildHookInterface):  # type: ignore[type-arg]
    """Puts the compiled loops beside their sources, and into the wheel."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002 - hatchling's interface
        """Compile, and mark the wheel as one for this kind of machine."""
        folder = Path(self.root, "xdplb/balance")
        target, made = folder / "_loops.so", folder / f"_loops.{os.getpid()}.so"
        sources = [folder / name for name in _SOURCES]
        target.unlink(missing_ok=True)
        try:
            subprocess.run([os.environ.get("CC", "cc"), *_OPTIONS, "-o", made, *sources], check=True, text=True)
        except (OSError, subprocess.CalledProcessError) as error:
            self.app.display_warning(f"the loops are not compiled, so tables are computed in Python: {error}")
            return
        made.rename(target)
        platform = sysconfig.get_platform().replace("-", "_").replace(".", "_")
        build_data.update(pure_python=False, tag=f"py3-none-{platform}")
        build_data["artifacts"].append("xdplb/balance/_loops.so")
