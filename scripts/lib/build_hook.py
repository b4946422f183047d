# SPDX-License-Identifier: Apache-2.0
"""What is made whenever xdplb is built or installed: a build hook of hatchling (pyproject.toml).

The loops of xdplb/balance are compiled. They need no header of the C library; without a compiler xdplb is built all the
same, and slower. A wheel also gets the commit that it is built from: that of the checkout in XDPLB_CHECKOUT, if the
sources are a copy of one. An editable install looks for it each time.
"""

from __future__ import annotations

import os
import runpy
import subprocess
import sysconfig
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

_OPTIONS = ("-O2", "-shared", "-fPIC", "-nostdlib", "-ffreestanding")
_SOURCES = ("fill.c", "slots.c")


def _read_head(root: Path, checkout: Path) -> str | None:
    """Return the commit that a checkout is at. Git need not be installed, and xdplb is not yet."""
    commit: str | None = runpy.run_path(str(root / "xdplb/commit.py"))["read_head"](checkout)
    return commit


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
        commit = _read_head(Path(self.root), Path(os.environ.get("XDPLB_CHECKOUT") or self.root))
        if commit is None:
            self.app.display_warning("the sources are in no Git checkout, so `xdplb version` will not say their commit")
            return
        with tempfile.NamedTemporaryFile("w", prefix="xdplb-commit-", delete=False) as noted:
            noted.write(f"{commit}\n")
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
