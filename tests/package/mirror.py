# SPDX-License-Identifier: Apache-2.0
"""A proxy by which machines of a lab reach Debian's mirror, and nothing else. What one has fetched, all have."""

from __future__ import annotations

import shutil
import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import quote

from .debian import MIRROR

__all__ = ["mirror_proxy"]

SECONDS = 60


@contextmanager
def mirror_proxy(listener: socket.socket, kept: Path) -> Iterator[None]:
    """Serve on this socket, of whatever network namespace, while in the block. What was fetched is in `kept`."""
    kept.mkdir()

    class Proxy(BaseHTTPRequestHandler):
        """apt asks with the whole URL."""

        def do_GET(self) -> None:
            if not self.path.startswith(f"{MIRROR}/"):
                self.send_error(403, f"only {MIRROR} is reached from here")
                return
            file = kept / quote(self.path, safe="")
            try:
                if not file.exists():
                    self._fetch(file)
            except urllib.error.HTTPError as error:
                self.send_error(error.code)
                return
            except OSError as error:
                self.send_error(502, str(error))
                return
            self.send_response(200)
            self.send_header("Content-Length", str(file.stat().st_size))
            self.end_headers()
            with file.open("rb") as stored:
                shutil.copyfileobj(stored, self.wfile)

        def _fetch(self, file: Path) -> None:
            part = file.with_name(f"{threading.get_ident()}.part")
            with urllib.request.urlopen(self.path, timeout=SECONDS) as answer, part.open("wb") as written:
                shutil.copyfileobj(answer, written)
            part.rename(file)

        def log_message(self, *words: object) -> None:
            """Say nothing: apt says what fails."""

    server = ThreadingHTTPServer(("", 0), Proxy, bind_and_activate=False)
    server.socket.close()
    server.socket = listener
    thread = threading.Thread(target=server.serve_forever, name="mirror proxy")
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
