# SPDX-License-Identifier: Apache-2.0
"""What the examples of docs/reference/cli.md need. Each group of commands begins with the same VIPs."""

from __future__ import annotations

from .page_part import Part

__all__ = ["CLI_PARTS"]

_PAGE = "reference/cli.md"
_ONE_NODE = "names another node, and the lab has one: tests/contract/test_nodes.py has several"

_VIPS = """\
mkdir -p /etc/xdplb /etc/keepalived /etc/prometheus
cat >config.toml <<'END'
[[vips]]
address = "203.0.113.10"
port = 443
protocol = "tcp"
name = "web"
health_check = {type = "tcp"}
backends = [{address = "10.0.0.11"}]

[[vips]]
address = "203.0.113.10"
port = 80
protocol = "tcp"
health_check = {type = "http", path = "/healthz"}
backends = [{address = "10.0.0.11"}]

[[vips]]
address = "203.0.113.10"
port = 22
protocol = "tcp"

[[vips]]
address = "203.0.113.10"
port = 6379
protocol = "tcp"
name = "cache"

[[vips]]
address = "203.0.113.10"
port = 53
protocol = "udp"
name = "dns"

[[vips]]
address = "2001:db8::10"
port = 443
protocol = "udp"
quic = {server_id_bytes = 2}
END
cp config.toml /etc/xdplb/config.toml
echo 192.0.2.0/24 >blocked.txt
xdplb config apply -f config.toml
xdplb status --wait --vip web --vip 203.0.113.10:80/tcp
"""
_FILES_OF_UP = """\
echo 'vips = []' >/etc/xdplb/config.toml
for each in netops monitoring; do groupadd -f $each; done
head -c 32 /dev/urandom | base64 >/etc/xdplb/peers.key
chmod 600 /etc/xdplb/peers.key
"""
_KEEPALIVED = """\
mkdir -p /etc/keepalived
printf '%s\\n' 'virtual_server 203.0.113.10 80 {' 'lb_algo rr' 'lb_kind DR' 'protocol TCP' \\
    'real_server 10.0.0.11 80 {' '}' '}' >/etc/keepalived/keepalived.conf
rm config.toml
"""


def _group(*names: str, before: str = "", **settings: object) -> Part:
    """Return the examples of these commands, on a balancer with the VIPs above."""
    headings = tuple(f"`xdplb {name}`" for name in names)
    return Part(_PAGE, headings, before=(("balancer", _VIPS + before),), **settings)  # type: ignore[arg-type]


CLI_PARTS = (
    Part(
        _PAGE,
        ("`xdplb up`", "`xdplb down`"),
        options=None,
        before=(
            (
                "balancer",
                _FILES_OF_UP,
            ),
        ),
        values={"--peer-listen 10.0.0.1": "--peer-listen 10.0.0.2", "--peer 10.0.0.2": "--peer 10.0.0.3"},
        untried={"* --store *": "needs an etcd: the page about clusters has the same command"},
    ),
    _group("status", "doctor", "vip access clear", "vip access set", "vip access show"),
    Part(_PAGE, ("`xdplb vip add`", "`xdplb vip ls`")),
    _group("vip rm"),
    _group(
        *("vip set", "vip show", "backend add", "backend drain", "backend ls"),
        values={"--wait": "--wait --quiet 1s"},
    ),
    _group("backend rm"),
    _group("backend set", "backend show", "backend undrain"),
    _group(
        *("health add", "health ls", "health probe"),
        options="--exec-checks",
        exits={"xdplb health probe web *": 1},  # no agent answers there, and there is no such command
    ),
    _group("health rm", before="for name in app more; do xdplb health add web --type tcp --name $name; done"),
    _group("health set", "health show"),
    _group(
        "config apply", "config check", values={"-f - --format yaml": "-f - --format yaml <<'END'\nvips: []\nEND\n"}
    ),
    _group("config convert", before=_KEEPALIVED),
    _group("config diff", "config dump", "config schema", "stats", "explain"),
    _group(
        "capture",
        "backup",
        values={"--seconds 10": "--seconds 1"},
        endless={"* --sample 100": "", "* --packets 1000": ""},
        exits={"* backup --state-dir *": 4},  # the file is there from the line before
        untried={"* -w -": "writes packets to a pipe: tests/contract/test_capture.py reads them"},
    ),
    _group(
        "token add",
        "token ls",
        "token rm",
        "events",
        endless={"xdplb events --follow": ""},
        exits={"xdplb events --follow": 130},
    ),
    _group(
        *("dashboard", "top", "node drain", "node ls", "node show", "node undrain", "node withdraw"),
        untried={"xdplb node show lb2 *": _ONE_NODE},
        then={"xdplb node undrain": "systemctl stop xdplb"},
    ),
    _group("dns forget", "dns ls", "version"),
    Part(
        _PAGE,
        tuple(
            f"`xdplb {name}`"
            for name in ("decap down", "decap up", "backend-host setup", "backend-host show", "backend-host undo")
        ),
        host="dr2",
    ),
)
