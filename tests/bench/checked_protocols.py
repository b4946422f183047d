# SPDX-License-Identifier: Apache-2.0
"""What the benches check with TLS and over UDP: `checked_protocols.py PORT CERTIFICATE KEY`, at all addresses.

With TLS it answers any request and closes. A datagram comes back as a DNS answer: with the bit set that says so.
"""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import struct
import sys

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"
_IP_PKTINFO = 8
_QR_BYTE, _QR = 2, 0x80


def main() -> None:
    port, certificate, key = sys.argv[1:]
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    listening = socket.create_server(("", int(port)), backlog=8192)
    datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    datagrams.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
    datagrams.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)
    datagrams.bind(("", int(port)))
    poll = select.epoll()
    for each in (listening, datagrams):
        each.settimeout(0)
        poll.register(each, select.EPOLLIN)
    clients: dict[int, ssl.SSLSocket] = {}
    while True:
        for number, _ in poll.poll():
            with contextlib.suppress(BlockingIOError):
                if number == datagrams.fileno():
                    while True:
                        _return(datagrams)
                elif number == listening.fileno():
                    while True:
                        client = context.wrap_socket(
                            listening.accept()[0], server_side=True, do_handshake_on_connect=False
                        )
                        client.settimeout(0)
                        clients[client.fileno()] = client
                        poll.register(client, select.EPOLLIN)
                elif _is_over(clients[number]):
                    clients.pop(number).close()


def _return(datagrams: socket.socket) -> None:
    """Send one datagram back, from the address that it came to."""
    data, ancillary, _, peer = datagrams.recvmsg(4096, 64)
    _, _, to = struct.unpack("=I4s4s", ancillary[0][2][:12])
    data = data[:_QR_BYTE] + bytes([data[_QR_BYTE] | _QR]) + data[_QR_BYTE + 1 :] if len(data) > 12 else data
    info = struct.pack("=I4s4s", 0, to, bytes(4))
    datagrams.sendmsg([data], [(socket.IPPROTO_IP, _IP_PKTINFO, info)], 0, peer)


def _is_over(client: ssl.SSLSocket) -> bool:
    """Go on with a connection; return whether it can be closed."""
    try:
        client.do_handshake()
        if client.recv(4096):
            client.send(ANSWER)
        return True
    except ssl.SSLWantReadError:
        return False
    except OSError:
        return True


if __name__ == "__main__":
    main()
