# SPDX-License-Identifier: Apache-2.0
"""The sockets of this host itself."""

from __future__ import annotations

import socket
from ipaddress import ip_address

import pytest

from xdplb.model.host import OwnSocket
from xdplb.model.key import Protocol
from xdplb.net.local_sockets import own_sockets


@pytest.mark.parametrize(("family", "address"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")])
def test_listeners_and_open_connections_are_found(family: socket.AddressFamily, address: str) -> None:
    with socket.socket(family) as listener, socket.socket(family) as client:
        listener.bind((address, 0))
        listener.listen()
        port = listener.getsockname()[1]
        client.connect((address, port))
        with listener.accept()[0]:
            found = set(own_sockets())
    here = ip_address(address)
    assert {OwnSocket(Protocol.TCP, here, port), OwnSocket(Protocol.TCP, here, port, here)} <= found


def test_a_udp_service_is_found_and_a_connected_socket_is_none() -> None:
    with (
        socket.socket(type=socket.SOCK_DGRAM) as service,
        socket.socket(type=socket.SOCK_DGRAM) as client,
    ):
        service.bind(("127.0.0.1", 0))
        client.connect(service.getsockname())
        ports = {found.port for found in own_sockets() if found.protocol is Protocol.UDP}
        assert service.getsockname()[1] in ports
        assert client.getsockname()[1] not in ports
