# SPDX-License-Identifier: Apache-2.0
"""What each page of the documentation needs, so that all that is typed on it can be typed in a lab."""

from __future__ import annotations

import sys

from .balancer import until
from .page_lab import BACKENDS, PageLab
from .page_part import Part
from .page_parts_by_task import BY_TASK

__all__ = ["PAIR", "PARTS", "QUICKSTART", "TROUBLESHOOTING"]


def _on(host: str, lines: str) -> tuple[tuple[str, str], ...]:
    return ((host, lines),)


_WEB = """xdplb config apply -f - <<'END'
[[vips]]
address = "203.0.113.10"
port = 443
protocol = "tcp"
name = "web"
forward = "dr"
min_serving = 2
health_check = {type = "http", path = "/healthz", interval_seconds = 1}
backends = [{address = "10.0.0.11"}, {address = "10.0.0.12"}]
END
xdplb status --wait --vip web
"""
"""The VIP that pages call web, with two backends, of which both serve."""

_CERTIFICATES = f"""PYTHONPATH=. {sys.executable} -c '
from pathlib import Path
from tests.certificates import Authority
ours = Authority(Path("."))
ours.sign("lb1", "/CN=lb1", names="DNS:lb1.example.net,IP:10.0.0.2")
Authority(Path("."), "clients").sign("anna", "/O=ops/CN=anna")
'
echo 10.0.0.2 lb1.example.net >>/etc/hosts
"""
"""A CA in ca.pem and one for clients in clients.pem, with lb1.pem and anna.pem and their keys."""

_STIR = "xdplb backend set web 10.0.0.11 --admin-state maint && xdplb backend set web 10.0.0.11 --admin-state ready"
"""What makes events."""

_IS_A_CAPTURE = "[ $(head -c 4 web.pcapng | od -An -tx1 | tr -d ' ') = 0a0d0d0a ]"
_PACKAGE = "installs or builds the package, which tests/package does in a bare Debian"


def _wait_for_web_servers(lab: PageLab) -> None:
    asked = ["curl", "-so/dev/null", "http://127.0.0.1/"]
    until(lambda: all(lab.run(host, asked, check=False).returncode == 0 for host in BACKENDS))


QUICKSTART = Part(
    "quickstart.md",
    host=None,
    options=None,
    before=_on("router", "ip route del 203.0.113.0/24"),
    places={
        "n all three": ("balancer", *BACKENDS),
        "n the router": ("router",),
        "n each backend": BACKENDS,
        "n one backend": ("dr1",),
        "n that backend": ("dr1",),
        "n the balancer": ("balancer",),
        "n a client": ("client",),
    },
    untried=dict.fromkeys(("scripts/package", "for host in * scp *", "apt update", "apt install *"), _PACKAGE),
    then={"echo $! *": _wait_for_web_servers},
)

TROUBLESHOOTING = Part(
    "troubleshooting.md",
    places={
        "n the router": ("router",),
        "n that backend": ("dr1",),
        "n the backend": ("dr1",),
        "refuses": ("dr1",),
    },
    values={"198.51.100.7": "198.51.100.2", "--seconds 10": "--seconds 1"},
    endless={"tcpdump *": ""},
)

PAIR = Part("ha.md", ("In ten minutes",))
"""tests/netns/pair.py follows it."""

PARTS = (
    Part(
        "README.md",
        options=None,
        places={"n each backend": BACKENDS},
        untried={
            "scripts/demo": "sets up a lab of its own, and takes minutes",
            "scripts/test": "is what runs this",
        },
    ),
    Part(
        "access.md",
        before=_on(
            "balancer", f"for each in lbadmins netops monitoring; do groupadd $each; done\n{_CERTIFICATES}\n{_WEB}"
        ),
        values={"…": "--listen unix:/run/xdplb/api.sock --listen 10.0.0.2:8443 --tls-cert lb1.pem --tls-key lb1.key"},
    ),
    Part("client.md", then={"with client.capture*": _IS_A_CAPTURE}),
    *BY_TASK,
)
