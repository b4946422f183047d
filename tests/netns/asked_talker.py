# SPDX-License-Identifier: Apache-2.0
"""Connections that speak when they are told to, so that a test knows what broke between two moments.

    asked_talker.py ADDRESS COUNT PORT...    holds COUNT connections to each port

Reads lines: `speak` has every connection say a line, and opens those anew that got no right answer. The answer is a
line of JSON: how many did not, by port. The other side is `talker.py serve`, which sends its name for each line.
"""

from __future__ import annotations

import asyncio
import json
import sys

ANSWER_SECONDS = 0.8
MOST_TRIES = 40


class Connection:
    def __init__(self, address: str, port: int) -> None:
        self._address, self._port = address, port
        self._name = ""

    async def open(self) -> None:
        """Open it, to whoever answers: dialling again until somebody does."""
        for _ in range(MOST_TRIES):
            try:
                async with asyncio.timeout(ANSWER_SECONDS):
                    self._reader, self._writer = await asyncio.open_connection(self._address, self._port)
                    self._name = await self._line()
            except (OSError, TimeoutError):
                await asyncio.sleep(0.05)
            else:
                return
        raise ConnectionError(f"nobody answers at port {self._port}")

    async def speak(self) -> bool:
        """Say a line; return whether the backend of this connection has answered. It is opened anew if not."""
        try:
            self._writer.write(b"?\n")
            async with asyncio.timeout(ANSWER_SECONDS):
                if await self._line() == self._name:
                    return True
        except (OSError, TimeoutError):
            pass
        self._writer.close()
        await self.open()
        return False

    async def _line(self) -> str:
        line = await self._reader.readline()
        if not line:
            raise ConnectionError("closed")
        return line.decode().strip()


async def main(address: str, count: int, ports: list[int]) -> None:
    held = {port: [Connection(address, port) for _ in range(count)] for port in ports}
    await asyncio.gather(*(one.open() for those in held.values() for one in those))
    print(json.dumps({}), flush=True)
    while (await asyncio.to_thread(sys.stdin.readline)).strip() == "speak":
        answered = {port: await asyncio.gather(*(one.speak() for one in those)) for port, those in held.items()}
        print(json.dumps({port: answers.count(False) for port, answers in answered.items()}), flush=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), [int(port) for port in sys.argv[3:]]))
