# SPDX-License-Identifier: Apache-2.0
"""A browser that does what `drive.mjs` can do, one scenario after the other."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from tests.waiting import PATIENCE

__all__ = ["Browser", "running_browser"]

HERE = Path(__file__).parent


class Browser:
    """A running Chromium, with the node process that drives it."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._in: IO[str] = process.stdin
        self._out: IO[str] = process.stdout
        self._tell({"executable": shutil.which("chromium"), "patience": PATIENCE})
        assert "ready" in self._hear()

    def do(self, scenario: str, base: str, *, noisy: bool = False, **asked: object) -> Any:
        """Run a scenario and return what it found; the page at `base` must have behaved in any case.

        With `noisy` the console may have something, as when a request is refused.
        """
        self.begin(scenario, base, **asked)
        return self.finish(noisy=noisy)

    def begin(self, scenario: str, base: str, **asked: object) -> None:
        """Begin a scenario that stops on its way: `heard` and `go_on` meet it there."""
        self._base = base
        self._tell({"scenario": scenario, "base": base, **asked})

    def heard(self) -> Any:
        """Return what a scenario says on its way."""
        told = self._hear()
        assert "failed" not in told, told["failed"]
        return told["said"]

    def go_on(self, **more: object) -> None:
        """Let it go on."""
        self._tell(more)

    def finish(self, *, noisy: bool = False) -> Any:
        """Wait for the end of a scenario; return what it found."""
        seen = self._hear()
        assert "failed" not in seen, seen["failed"]
        assert seen["errors"] == []
        assert seen["hosts"] == [self._base.partition("://")[2]], "the page asked another host"
        assert noisy or seen["console"] == []
        return seen["found"]

    def _tell(self, what: dict[str, object]) -> None:
        self._in.write(json.dumps(what) + "\n")
        self._in.flush()

    def _hear(self) -> Any:
        line = self._out.readline()
        assert line, "the browser has ended: see what it wrote on stderr"
        return json.loads(line)


def _start(argv: Sequence[str]) -> subprocess.Popen[str]:
    return subprocess.Popen(argv, cwd=HERE, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


@contextmanager
def running_browser(start: Callable[[Sequence[str]], subprocess.Popen[str]] = _start) -> Iterator[Browser]:
    """Have a browser for the block; `start` is what starts it, as in a network namespace."""
    process = start(["node", str(HERE / "drive.mjs")])
    try:
        yield Browser(process)
        assert process.stdin is not None
        process.stdin.close()
        process.wait(60)
    finally:
        process.kill()
        process.wait()
        for stream in filter(None, (process.stdin, process.stdout)):
            stream.close()
