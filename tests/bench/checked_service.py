"""What the bench of the health checks checks: answers any request and closes. `checked_service.py PORT`.

It reads before it closes, as servers do, and at SIGTERM prints how many connections ended with a RST.
"""

from __future__ import annotations

import select
import signal
import socket
import sys

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"


def main() -> None:
    listening = socket.create_server(("", int(sys.argv[1])), backlog=8192)
    listening.settimeout(0)
    poll = select.epoll()
    poll.register(listening, select.EPOLLIN)
    clients: dict[int, socket.socket] = {}
    resets = 0

    def stop(*_: object) -> None:
        print(resets, flush=True)
        sys.exit()

    signal.signal(signal.SIGTERM, stop)
    while True:
        for number, _ in poll.poll():
            if number != listening.fileno():
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
                    client = listening.accept()[0]
                except BlockingIOError:
                    break
                client.settimeout(0)
                clients[client.fileno()] = client
                poll.register(client, select.EPOLLIN)


if __name__ == "__main__":
    main()
