# SPDX-License-Identifier: Apache-2.0
"""Many clients at once: each of their changes is made once, or refused."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path

from .cli_harness import running_daemon

CLIENTS = int(os.environ.get("XDPLB_CLIENTS", "150"))
"""Each with a connection of its own, all at once: by default as many as two thirds of what the API takes on."""
BACKEND = "/v1/vips/web/backends/10.0.0.11"
_BUSY, _BEYOND = 503, 10_000


async def _asked(path: Path, method: str, target: str, body: object, etag: str = "") -> tuple[int, str]:
    """Return the status and the ETag of an answer, on a connection of its own."""
    content = json.dumps(body).encode() if body is not None else b""
    match = f"If-Match: {etag}\r\n" if etag else ""
    head = f"{method} {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\n"
    reader, writer = await asyncio.open_unix_connection(str(path))
    try:
        writer.write(f"{head}{match}Content-Length: {len(content)}\r\n\r\n".encode() + content)
        await writer.drain()
        answer = (await reader.read()).decode()
    finally:
        writer.close()
    headers = answer.partition("\r\n\r\n")[0].lower().split("\r\n")
    tags = [line.partition(": ")[2] for line in headers if line.startswith("etag: ")]
    return int(headers[0].split()[1]), tags[0] if tags else ""


async def _set(path: Path, weight: int, start: asyncio.Event) -> tuple[int, int]:
    """Set a weight that no other client sets; return the generation that this gave, and the weight."""
    await start.wait()
    while True:
        try:
            status, etag = await _asked(path, "PATCH", BACKEND, {"weight": weight})
        except (OSError, IndexError):  # no room for one more connection
            status, etag = _BUSY, ""
        if status != _BUSY:
            assert status == 200, status
            return int(etag.strip('"')), weight
        await asyncio.sleep(0.2)


async def _set_if_seen(path: Path, start: asyncio.Event) -> list[tuple[int, int]]:
    """Try once to set a weight if nobody has changed it since it was looked at; return the same, if that was done."""
    await start.wait()
    try:
        _, seen = await _asked(path, "GET", BACKEND, None)
        weight = _BEYOND + int(seen.strip('"'))
        status, etag = await _asked(path, "PATCH", BACKEND, {"weight": weight}, seen)
    except (OSError, IndexError, ValueError):  # no room, for the connection or the request
        return []
    assert status in {200, 412, _BUSY}, status
    return [(int(etag.strip('"')), weight)] if status == 200 else []


def test_no_update_of_many_clients_is_lost(tmp_path: Path) -> None:
    async def all_of_them(path: Path) -> list[tuple[int, int]]:
        start = asyncio.Event()
        setting = [asyncio.create_task(_set(path, number + 2, start)) for number in range(CLIENTS)]
        trying = [asyncio.create_task(_set_if_seen(path, start)) for _ in range(CLIENTS // 3)]
        start.set()
        tried = await asyncio.gather(*trying)
        return [*await asyncio.gather(*setting), *(one for found in tried for one in found)]

    with running_daemon(tmp_path) as daemon:
        daemon.ok("vip", "add", "203.0.113.10:80/tcp", "--name", "web")
        daemon.ok("backend", "add", "web", "10.0.0.11")
        before = json.loads(daemon.get("/v1/status"))["generation"]
        done = sorted(asyncio.run(all_of_them(daemon.socket)))
        # Each answer was a change of its own, and the last one is what is there.
        assert [generation for generation, _ in done] == list(range(before + 1, before + 1 + len(done)))
        assert json.loads(daemon.get("/v1/status"))["generation"] == before + len(done)
        assert json.loads(daemon.get(BACKEND))["weight"] == done[-1][1]
