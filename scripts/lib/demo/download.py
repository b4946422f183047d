# SPDX-License-Identifier: Apache-2.0
"""A long download through the VIP; every byte is compared with what should have been sent."""

from __future__ import annotations

import hashlib
import subprocess
import tempfile
import time
from pathlib import Path

from . import web
from .traffic import TIMEOUT_SECONDS, Spawn

__all__ = ["Download"]


class Download:
    """A download that starts at once. `backend` is the backend that serves it, empty if none answered."""

    def __init__(self, spawn: Spawn, url: str, *, size: int, seconds: float, folder: Path) -> None:
        self._size = size
        own = Path(tempfile.mkdtemp(dir=folder, prefix="download-"))
        self._content, self._header = own / "content", own / "header"
        self.command = ["curl", "--silent", "--show-error", f"{url}download?bytes={size}&seconds={seconds:g}"]
        files = ["--output", str(self._content), "--dump-header", str(self._header)]
        self._curl = spawn([*self.command, *files], stderr=subprocess.PIPE, text=True)
        self.backend = self._served_by()

    @property
    def running(self) -> bool:
        """Whether it is still under way."""
        return self._curl.poll() is None

    @property
    def received(self) -> int:
        """Bytes that have arrived."""
        return self._content.stat().st_size if self._content.exists() else 0

    def cancel(self) -> None:
        """Stop it."""
        self._curl.terminate()
        self._curl.communicate()

    def finish(self, timeout: float) -> str:
        """Wait until it ends. Return what is wrong with the bytes that arrived, or an empty string."""
        try:
            _, message = self._curl.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            self.cancel()
            return f"it was still running after {timeout:g} s"
        if self._curl.returncode != 0:
            return f"curl exited with {self._curl.returncode}: {message.strip()}"
        if self.received != self._size:
            return f"{self.received} of {self._size} bytes arrived"
        if _digest(self._content.read_bytes()) != _digest(web.download(self._size)):
            return "the bytes that arrived differ from those sent"
        return ""

    def _served_by(self) -> str:
        deadline = time.monotonic() + TIMEOUT_SECONDS
        while time.monotonic() < deadline and self.running:
            lines = self._header.read_text(encoding="latin-1").splitlines() if self._header.exists() else []
            if "" in lines:
                return next((line.split()[1] for line in lines if line.lower().startswith("x-backend:")), "")
            time.sleep(0.02)
        return ""


def _digest(content: bytes) -> bytes:
    return hashlib.sha256(content).digest()
