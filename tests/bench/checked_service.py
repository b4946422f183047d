# SPDX-License-Identifier: Apache-2.0
"""What the benches check: answers any request and closes. `checked_service.py PORT [ADDRESS...]`; all without one.

It reads before it closes, as servers do, and at SIGTERM prints how many connections ended with a RST.
"""

from __future__ import annotations

import select
import signal
import socket
import sys

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"


def main() -> None:
    listening = {}
    poll = select.epoll()
    for address in sys.argv[2:] or [""]:
        server = socket.create_server((address, int(sys.argv[1])), backlog=8192)
        server.settimeout(0)
        poll.register(server, select.EPOLLIN)
        listening[server.fileno()] = server
    clients: dict[int, socket.socket] = {}
    resets = 0

    def stop(*_: object) -> None:
        print(resets, flush=True)
        sys.exit()

    signal.signal(signal.SIGTERM, stop)
    while True:
        for number, _ in poll.poll():
            if number not in listening:
                client = clients.pop(number)
                with client:
                    try:
                        if client.recv(4096):
                            client.send(ANSWER)
                    except OSError:
                        resets += 1
                continue
            while True:
                try:
                    client = listening[number].accept()[0]
                except BlockingIOError:
                    break
                client.settimeout(0)
                clients[client.fileno()] = client
                poll.register(client, select.EPOLLIN)


if __name__ == "__main__":
    main()
