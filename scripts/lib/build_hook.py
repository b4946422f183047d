# SPDX-License-Identifier: Apache-2.0
"""What is made whenever xdplb is built or installed: a build hook of hatchling (pyproject.toml).

The loops of xdplb/balance are compiled. They need no header of the C library; without a compiler xdplb is built all the
same, and slower. A wheel also gets the commit that it is built from; an editable install asks Git each time.
"""

from __future__ import annotations

import os
import subprocess
import sysconfig
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

_OPTIONS = ("-O2", "-shared", "-fPIC", "-nostdlib", "-ffreestanding")
_SOURCES = ("fill.c", "slots.c")


class MadeHook(BuildHookInterface):  # type: ignore[type-arg]
    """Puts the compiled loops beside their sources and into the wheel, and the commit into the wheel."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Make what the wheel needs; `version` is hatchling's word for the kind of build."""
        self._compile(build_data)
        if version == "standard":
            self._note_commit(build_data)

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:  # noqa: ARG002
        """Remove what was made for this build alone."""
        if self._noted is not None:
            self._noted.unlink()

    _noted: Path | None = None

    def _note_commit(self, build_data: dict[str, Any]) -> None:
        try:
            asked = subprocess.run(
                ["git", "rev-parse", "HEAD"], check=True, cwd=self.root, capture_output=True, text=True
            )
        except (OSError, subprocess.CalledProcessError):
            self.app.display_warning("the sources are in no Git checkout, so `xdplb version` will not say their commit")
            return
        with tempfile.NamedTemporaryFile("w", prefix="xdplb-commit-", delete=False) as noted:
            noted.write(asked.stdout)
        self._noted = Path(noted.name)
        build_data["force_include"][noted.name] = "xdplb/_commit"

    def _compile(self, build_data: dict[str, Any]) -> None:
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
