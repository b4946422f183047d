# SPDX-License-Identifier: Apache-2.0
"""Has bcc compile no program twice in one run of the tests, whichever process asks for it.

Python imports this at the start of each process that has the folder in its PYTHONPATH, as tests/conftest.py sees to.
It changes only the processes that compile (xdplb/dataplane/compile.py). What comes of a text with its flags is the same
each time; what differs is the folder with the maps, whose descriptors are put into the instructions. So the first
process keeps the instructions in a folder of the run, and the others load these. All else is as ever: the process, its
capabilities, the kernel's verifier, the pins. Without XDPLB_TESTS_COMPILED in the environment, bcc compiles each time.
"""

from __future__ import annotations

import base64
import ctypes
import hashlib
import json
import os
import sys
from functools import cache, partial
from pathlib import Path
from typing import Any

FOLDER = "XDPLB_TESTS_COMPILED"
PIN_DIR = "-DPIN_DIR="


class Loaded:
    """What bcc returns for a function that it has loaded."""

    def __init__(self, fd: int) -> None:
        self.fd = fd


def names_of_maps(folders: list[Path]) -> dict[int, str]:
    """Return the names of the maps that are pinned in these folders, by the kernel's ids."""
    from xdplb.dataplane.maps import BpfMap

    found = {}
    for path in (path for pins in folders for path in pins.iterdir()):
        try:
            with BpfMap.open(path) as opened:
                found[opened.info.id] = path.name
        except OSError:  # a program, a link or a folder
            continue
    return found


def keep(bcc: Any, folder: Path) -> None:
    """Have `bcc.BPF` take from the folder what is kept there, and keep there what it compiles."""
    from xdplb.dataplane import libbpf
    from xdplb.dataplane.instructions import Instructions, split
    from xdplb.dataplane.maps import BpfMap

    compiler = bcc.BPF

    class Kept(compiler):  # type: ignore[misc,valid-type]
        """Compiles at once if nothing is kept of this text, else only for a function that is not."""

        def __init__(self, text: str, cflags: list[str]) -> None:
            self._compile = cache(partial(super().__init__, text=text, cflags=cflags))
            shared = [flag for flag in cflags if not flag.startswith(PIN_DIR)]
            self._place = folder / hashlib.sha256("\0".join([text, *shared]).encode()).hexdigest()
            self._pins = [Path(json.loads(flag.removeprefix(PIN_DIR))) for flag in cflags if flag.startswith(PIN_DIR)]
            self._loaded: dict[str, bytes] = {}
            if not self._place.exists():
                self._compile()

        def load_func(self, name: str, kind: int) -> Any:
            file = self._place / name
            kept = json.loads(file.read_text()) if file.exists() else None
            if kept is None or not all((self._pins[0] / each).exists() for each in kept["maps"]):
                self._compile()  # which also makes the maps that its text pins
                return super().load_func(name, kind)
            # They stay open as long as the process lives, which reads from the code what maps it uses.
            self._opened = [BpfMap.open(self._pins[0] / each) for each in kept["maps"]]
            code = self._loaded[name] = Instructions(base64.b64decode(kept["code"]), ()).using(self._opened)
            count = ctypes.c_size_t(len(code) // 8)
            return Loaded(libbpf.call("bpf_prog_load", kind, name.encode(), b"GPL", code, count, None))

        def dump_func(self, name: str) -> bytes:
            if name not in self._loaded:
                self._loaded[name] = super().dump_func(name)
                self._keep(name, split(self._loaded[name]))
            return self._loaded[name]

        def _keep(self, name: str, made: Instructions) -> None:
            """Keep what was loaded if each of its maps is pinned: another process finds its own by the same names."""
            names = names_of_maps(self._pins)
            if all(number in names for number in made.map_ids):
                kept = {"code": base64.b64encode(made.code).decode(), "maps": [names[n] for n in made.map_ids]}
                self._place.mkdir(exist_ok=True)
                whole = self._place / f"{name}.{os.getpid()}"
                whole.write_text(json.dumps(kept))
                whole.replace(self._place / name)

    bcc.BPF = Kept


if FOLDER in os.environ and "xdplb.dataplane.compile" in sys.orig_argv:
    try:
        import bcc
    except ImportError:  # for the process itself to say
        pass
    else:
        keep(bcc, Path(os.environ[FOLDER]))
