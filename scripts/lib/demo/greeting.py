# SPDX-License-Identifier: Apache-2.0
"""The service of a backend that is dialled: `python -m demo.greeting NAME PORT` sends NAME and closes."""

from __future__ import annotations

import socket
import sys

BACKLOG = 4096


def main() -> None:
    """Serve until killed."""
    _, name, port = sys.argv
    listening = socket.create_server(
        ("", int(port)), family=socket.AF_INET6, dualstack_ipv6=True, backlog=BACKLOG, reuse_port=False
    )
    while True:
        try:
            connection, _ = listening.accept()
            connection.sendall(f"{name}\n".encode())
            connection.close()
        except ConnectionError:  # the client is gone
            continue


if __name__ == "__main__":
    main()
