# SPDX-License-Identifier: Apache-2.0
"""The hosts on which the commands of a page are typed: a client, a router, a balancer and two backends."""

from __future__ import annotations

import subprocess
import sys
from typing import ClassVar

from tests.waiting import until
from xdplb.net.lab import ADDRESSES, VIP, Lab

from .balancer import SERVICE
from .own_folders import REPOSITORY, OwnFolders

__all__ = ["BACKENDS", "PageLab", "web"]

BACKENDS = ("dr1", "dr2")

_DEFAULTS = REPOSITORY / "debian/xdplb.default"
_PORTS = (80, 443)
_WEB = """xdplb config apply -f - <<'END'
[[vips]]
address = "203.0.113.10"
port = 443
protocol = "tcp"
name = "web"
forward = "dr"
backends = [{address = "10.0.0.11"}, {address = "10.0.0.12"}]""".splitlines()

_AS_INSTALLED = f"""
systemctl stop xdplb
xdplb down --all
rm -rf /var/lib/xdplb/* /etc/xdplb/* /etc/keepalived/* /root/*.backup
cp {_DEFAULTS} /etc/default/xdplb
"""
_EMPTY = """
if systemctl status xdplb; then echo 'vips = []' | xdplb config apply -f - || true; fi
rm -rf /etc/xdplb/* /etc/keepalived/* /root/*.backup
printf '%s\\n' 'INTERFACES="eth0"' 'OPTIONS="{options}"' >/etc/default/xdplb.new
cmp -s /etc/default/xdplb.new /etc/default/xdplb || systemctl stop xdplb
mv /etc/default/xdplb.new /etc/default/xdplb
systemctl start xdplb
xdplb status --wait
echo 'vips = []' | xdplb config apply -f -
"""


def web(*fields: str) -> str:
    """Return what adds the VIP that pages call web, with two backends; `fields` are lines of its config file."""
    return "\n".join([*_WEB, *fields, "END", "xdplb status --wait --vip web", ""])


class PageLab(OwnFolders, Lab):
    """A balancer named lb1, and backends named web1 and web2."""

    NAMES: ClassVar = {"balancer": "lb1", "dr1": "web1", "dr2": "web2"}

    def __init__(self, *, port_program: int | None = None) -> None:
        super().__init__(port_program=port_program)
        self._web_servers: list[subprocess.Popen[bytes]] = []

    def begin(self, options: str | None, *, has_web_servers: bool) -> None:
        """Have the service run with these options and without VIPs, or the balancer as it is installed."""
        self.sh("balancer", _AS_INSTALLED if options is None else _EMPTY.format(options=options))
        if has_web_servers and not self._web_servers:
            self._serve()
        elif not has_web_servers:
            while self._web_servers:
                server = self._web_servers.pop()
                server.terminate()
                server.wait()

    def _serve(self) -> None:
        """Have a web server on each backend, which is set up for the VIP."""
        for host in BACKENDS:
            self.sh(host, f"xdplb backend-host setup {VIP} --forward dr")
            for port in _PORTS:
                argv = [sys.executable, SERVICE, self.NAMES[host], str(port)]
                self._web_servers.append(self.popen(host, argv))
        urls = [f"http://{ADDRESSES[host]}:{port}/" for host in BACKENDS for port in _PORTS]
        until(lambda: self.run("client", ["curl", "-sf", "-o/dev/null", *urls], check=False).returncode == 0)

    def _build(self) -> None:
        super()._build()
        for host in self.NAMES:
            self._hold(host)
