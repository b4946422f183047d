# SPDX-License-Identifier: Apache-2.0
"""What the demo prints: numbered steps, the commands it runs, small tables, and the result of each check."""

from __future__ import annotations

import os
import re
import shlex
import sys
from collections.abc import Sequence

__all__ = ["Screen"]

NUMBER = re.compile(r"\d+(\.\d+)?")
RESET = "\x1b[0m"
STYLES = {"bold": "\x1b[1m", "dim": "\x1b[2m", "green": "\x1b[32m", "red": "\x1b[1;31m"}


class Screen:
    """Prints to stdout without buffering, and counts the checks that failed in `failed`."""

    def __init__(self, *, color: bool) -> None:
        self._color = color and sys.stdout.isatty() and not os.environ.get("NO_COLOR")
        self._steps = 0
        self.failed = 0

    def step(self, title: str) -> None:
        """Begin the next step."""
        self._steps += 1
        self._print(f"\n{self._styled(f'{self._steps}  {title}', 'bold')}")

    def say(self, text: str) -> None:
        """Print a line of text."""
        self._print(f"   {text}")

    def command(self, command: Sequence[str], *, where: str = "") -> None:
        """Print a command that is run, and the host that it runs on."""
        prompt = f"{where}$ " if where else "$ "
        self._print(self._styled(f"   {prompt}{shlex.join(command)}", "dim"))

    def table(self, header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
        """Print rows under a header; columns of numbers are aligned to the right."""
        cells = [[str(cell) for cell in row] for row in rows]
        columns = list(zip(header, *cells, strict=True))
        widths = [max(map(len, column)) for column in columns]
        right = [all(NUMBER.fullmatch(cell) for cell in column[1:]) for column in columns]
        for index, row in enumerate([list(header), *cells]):
            line = "  ".join(
                cell.rjust(width) if to_right else cell.ljust(width)
                for cell, width, to_right in zip(row, widths, right, strict=True)
            )
            self._print("   " + self._styled(line.rstrip(), "dim" if index == 0 else ""))

    def expect(self, ok: bool, claim: str, otherwise: str = "") -> None:
        """Print a claim and whether it holds; if not, also `otherwise`, what was seen instead."""
        if ok:
            self._print(f"   {self._styled('ok', 'green')}      {claim}")
        else:
            self.fail(f"{claim}: {otherwise}" if otherwise else claim)

    def fail(self, text: str) -> None:
        """Print and count a failure."""
        self.failed += 1
        self._print(f"   {self._styled('FAILED', 'red')}  {text}")

    def conclude(self, seconds: float) -> None:
        """Print the closing line."""
        if self.failed:
            text = self._styled(f"{self.failed} {'check' if self.failed == 1 else 'checks'} failed", "red")
        else:
            text = self._styled("everything went as expected", "green")
        self._print(f"\n{text} ({seconds:.0f} s)")

    def _styled(self, text: str, style: str) -> str:
        return f"{STYLES[style]}{text}{RESET}" if self._color and style else text

    def _print(self, text: str) -> None:
        print(text, flush=True)
