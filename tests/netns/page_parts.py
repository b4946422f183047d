# SPDX-License-Identifier: Apache-2.0
"""What each page of the documentation needs, so that all that is typed on it can be typed in a lab."""

from __future__ import annotations

import shlex
import sys

from tests.name_server import KEY_FILE
from tests.page import files_of
from tests.waiting import until
from xdplb.net.lab import VIP

from .page_lab import BACKENDS, PageLab, web
from .page_part import Part
from .page_parts_inside import INSIDE

__all__ = ["PAIR", "PARTS", "QUICKSTART", "TROUBLESHOOTING"]


def _on(host: str, lines: str) -> tuple[tuple[str, str], ...]:
    return ((host, lines),)


_WEB = web(
    "min_serving = 2",
    'health_check = {type = "http", path = "/healthz", interval_seconds = 1, timeout_seconds = 10}',
)
"""The VIP that pages call web, of which both backends serve."""

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
_NAMED = "names the command, whose arguments only the reader knows"
_PACKAGE = "installs or builds the package, which tests/package does in a bare Debian"


def _give_key(lab: PageLab) -> None:
    """Have the name server use the key that the balancer has now."""
    key = lab.sh("balancer", "cat /etc/xdplb/dns.key")
    asked = "dig @10.0.0.11 -k /etc/bind/balancers.key +short +time=1 +tries=1 ns.example.com"
    lab.sh("dr1", _file("/etc/bind/balancers.key", key) + "kill -HUP $(cat /run/named.pid)")
    until(lambda: lab.run("dr1", asked.split(), check=False).stdout == "10.0.0.11\n", 60)


def _wait_for_web_servers(lab: PageLab) -> None:
    asked = ["curl", "-so/dev/null", "http://127.0.0.1/"]
    until(lambda: all(lab.run(host, asked, check=False).returncode == 0 for host in BACKENDS))


_NAT_SERVICE = "python3 -m http.server {port} >/dev/null 2>&1 & echo $! >/run/nat-service.pid"


def _end_nat(lab: PageLab) -> None:
    """Leave no route and no setting to the pages that come after."""
    for host in BACKENDS:
        lab.sh(host, f"kill $(cat /run/nat-service.pid); xdplb backend-host undo {VIP}")
        lab.sh(host, f"xdplb backend-host setup {VIP} --forward dr")
    lab.sh("balancer", "sysctl -q -p /run/before-nat")


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


def _file(path: str, text: str) -> str:
    """Return lines of shell that write a file."""
    return f"cat >{path} <<'END'\n{text}END\n"


_CONFIG = files_of("config.md", "toml")[0]
_WRONG = """\
[[vips]]
address = "203.0.113.10"
port = 443
protocol = "tpc"

[[vips.backends]]
address = "10.0.0.11"

wieght = 2

# Two VIPs with one address:


[[vips]]
address = "203.0.113.11"
port = 443
protocol = "tcp"
access = {deny_file = "blocked.txt"}
[[vips]]
address = "203.0.113.11"
port = 443
protocol = "tcp"
"""
_ZONE = """\
$TTL 300
@ IN SOA ns hostmaster 1 3600 600 86400 60
@ IN NS ns
ns IN A 10.0.0.11
"""
_IPVS = "-A -t 203.0.113.10:80 -s wlc\n-a -t 203.0.113.10:80 -r 10.0.0.11:80 -g -w 1\n"
_KEY = KEY_FILE.replace('"xdplb"', '"balancers"')
_NAME_SERVER = f"""\
mkdir -p /etc/bind /var/lib/bind
{_file("/etc/bind/balancers.key", _KEY)}
{_file("/var/lib/bind/example.com", _ZONE)}
{_file("/etc/bind/named.conf", files_of("dns.md", "text")[1])}
named -f -c /etc/bind/named.conf </dev/null >/dev/null 2>&1 &
echo $! >/run/named.pid
until dig @10.0.0.11 +short +time=1 +tries=1 ns.example.com >/dev/null; do sleep 0.1; done
"""
_ETCD = """\
mkdir -p /etc/systemd/system
cat >/etc/systemd/system/etcd.service <<'END'
[Service]
Type=notify
ExecStart=/usr/bin/etcd --data-dir /var/lib/etcd-pages --listen-peer-urls http://127.0.0.1:2380
END
systemctl start etcd
"""
_TWO_TIERS = "docs/examples/two-tiers"
_SECOND_TIER = f"""\
mkdir -p /srv/l7
cp {_TWO_TIERS}/nginx.conf {_TWO_TIERS}/haproxy.cfg /srv/l7/
sed -i 's/^worker_processes auto;/worker_processes 1; user root;/' /srv/l7/nginx.conf
PYTHONPATH=. {sys.executable} -c '
from pathlib import Path
from tests.certificates import Authority
pair = Authority(Path(".")).sign("site", "/CN=web.example.com")
Path("/srv/l7/site.pem").write_bytes(b"".join(each.read_bytes() for each in pair))
'
"""


PARTS = (
    Part(
        "README.md",
        options=None,
        places={"n each backend": BACKENDS},
        values={"--wait": "--wait --quiet 1s"},
        untried={
            "scripts/demo": "sets up a lab of its own, and takes minutes",
            "scripts/test": "is what runs this",
        },
    ),
    Part(
        "nat.md",
        places={"n each balancer": ("balancer",), "n each backend": BACKENDS, "A client": ("client",)},
        before=(
            *((host, _NAT_SERVICE.format(port=port)) for host, port in zip(BACKENDS, (8080, 8081), strict=True)),
            (
                "balancer",
                "sysctl -a -r 'rp_filter|accept_local|send_redirects|forwarding$|ip_forward$' >/run/before-nat",
            ),
        ),
        then={"curl *": _end_nat},
    ),
    Part(
        "access.md",
        before=_on(
            "balancer", f"for each in lbadmins netops monitoring; do groupadd $each; done\n{_CERTIFICATES}\n{_WEB}"
        ),
        values={"…": "--listen unix:/run/xdplb/api.sock --listen 10.0.0.2:8443 --tls-cert lb1.pem --tls-key lb1.key"},
    ),
    Part("client.md", then={"with client.capture*": _IS_A_CAPTURE}),
    Part(
        "config.md",
        ("Config files",),
        before=_on("balancer", _file("config.toml", _CONFIG)),
        exits={"xdplb config diff *": 1},
        then={"xdplb config schema *": "jq -e .properties.vips xdplb.schema.json"},
    ),
    Part(
        "config.md",
        ("check",),
        before=_on("balancer", _file("config.toml", _WRONG) + _file("blocked.txt", "192.0.2.1\n\n203.0.113.7/24\n")),
        exits={"xdplb config check *": 2},
    ),
    Part(
        "config.md",
        ("The overlay",),
        before=_on(
            "balancer",
            _file("/etc/xdplb/config.toml", _CONFIG)
            + """sed -i 's|^OPTIONS=.*|OPTIONS="--config /etc/xdplb/config.toml"|' /etc/default/xdplb
systemctl restart xdplb""",
        ),
        then={"xdplb backend set * maint": "xdplb status | grep -q overlay"},
    ),
    Part(
        "dashboard.md",
        before=_on("balancer", f"{_CERTIFICATES}\n{_WEB}"),
        untried={"ssh *": "needs an SSH server; what it runs there is the command before it"},
    ),
    Part(
        "dns.md",
        before=(
            ("balancer", _WEB + _file("/etc/xdplb/dns.key", _KEY) + "chmod 600 /etc/xdplb/dns.key"),
            ("dr1", _NAME_SERVER),
        ),
        values={"192.0.2.53": "10.0.0.11", "dig +short": "dig @10.0.0.11 +short"},
        then={
            "xdplb vip set *": "until xdplb vip show web | grep -q 'in-dns *yes'; do sleep 0.1; done",
            "chmod 600 *": _give_key,
            "dig *": "[ $(dig @10.0.0.11 +short www.lb.example.com) = 203.0.113.10 ]",
        },
    ),
    Part(
        "events.md",
        before=_on("balancer", _WEB),
        endless={"*--follow*": _STIR, "curl * -N *": _STIR, "from xdplb.client *": _STIR},
        exits={"*--follow*": 130, "curl * -N *": -2},
    ),
    Part(
        "cluster.md",
        ("The store", "Nodes", "When the store is away"),
        options=None,
        before=_on("balancer", _ETCD),
        values={"10.0.0.1,10.0.0.2,10.0.0.3": "127.0.0.1"},
        then={
            "xdplb up *": _WEB,
            "xdplb backend ls *": "systemctl stop etcd\nuntil xdplb status | grep -q 'away since'; do sleep 0.1; done",
        },
    ),
    Part(
        "cluster.md",
        ("Peers",),
        before=_on(
            "balancer",
            f"{_CERTIFICATES}\ncp lb1.pem lb1.key ca.pem /etc/xdplb/\n"
            "xdplb token add peers --role operate --write /etc/xdplb/peers.token",
        ),
        values={"10.0.0.11": "10.0.0.2"},
    ),
    Part("cluster.md", ("etcd",), before=_on("balancer", _ETCD), values={"…": "secret"}),
    Part(
        "install.md",
        options=None,
        untried={
            "scripts/package": _PACKAGE,
            "apt install *": _PACKAGE,
            "systemctl enable --now xdplb-*": "needs systemd: tests/package does it in a Debian that is booted",
            "scripts/package wheel": _PACKAGE,
            "scripts/package try *": "makes bare Debians, and takes minutes",
            "scripts/package quickstart *": "makes bare Debians, and takes minutes",
            "python3 -m venv *": "is for the wheel that the line before builds",
            "/opt/xdplb/bin/*": "is for the wheel that the line before builds",
            "podman *": "needs a container engine",
        },
    ),
    Part("top.md", before=_on("balancer", _WEB)),
    Part("faq.md", places={"backend-host": ("dr1",)}, then={"*2001*": f"xdplb backend-host setup {VIP} --forward dr"}),
    Part("reference/capture.md", untried={"tshark *": "needs tshark, which is no package of the tests"}),
    Part(
        "reference/api.md",
        ("Routes",),
        then={"* -X PATCH *": "xdplb backend ls 203.0.113.10:80/tcp | grep -q 10.0.0.11"},
    ),
    Part(
        "reference/api.md",
        ("Requests of web pages",),
        before=_on("balancer", _WEB),
        values={"seconds=10": "seconds=1"},
        then={"* -o web.pcapng *": _IS_A_CAPTURE},
    ),
    Part(
        "keepalived.md",
        before=_on(
            "balancer",
            "mkdir -p /etc/keepalived\n"
            + _file("/etc/keepalived/keepalived.conf", files_of("keepalived.md", "text")[1]),
        ),
        values={"ipvsadm -S -n": f"printf %s {shlex.quote(_IPVS)}"},
        exits={"xdplb config convert --from keepalived *": 1},
    ),
    Part(
        "monitoring/runbook.md",
        spans=True,
        before=_on("balancer", f"{_CERTIFICATES}\n{_WEB}\n{_ETCD}\n{_file('config.toml', _CONFIG)}"),
        values={
            "NIC": "eth0",
            "VIP": "web",
            "BACKEND": "10.0.0.11",
            "FILE": "config.toml",
            "CERT": "lb1.pem",
            "1m": "1s",
        },
        untried={
            **dict.fromkeys(
                ("xdplb up", "xdplb vip set", "xdplb backend add", "xdplb backend drain", "ls -ld"), _NAMED
            ),
            "chronyc *": "needs chrony, which is no package of the tests",
        },
        endless={"top -H": "", "xdplb capture *": ""},
        then={"xdplb backend drain VIP *": "xdplb backend undrain web 10.0.0.11"},
    ),
    Part(
        "ha.md",
        ("Announcing",),
        before=_on("balancer", _WEB),
        then={"xdplb vip set *": "until ip route show table 210 | grep -q blackhole; do sleep 0.1; done"},
    ),
    Part("ha.md", ("Draining a balancer",), before=_on("balancer", _WEB)),
    Part(
        "ha.md",
        ("A file for keepalived",),
        before=_on("balancer", _WEB),
        then={"xdplb up * /run/xdplb/vrrp": "until grep -qx 0 /run/xdplb/vrrp; do sleep 0.1; done"},
    ),
    *INSIDE,
    Part(
        "two-tiers.md",
        options=None,
        places={
            "on each host of the second tier": BACKENDS,
            "on the balancer": ("balancer",),
            "mkdir -p": BACKENDS,
            "nginx -p": ("dr1",),
            "haproxy -D": ("dr2",),
            "state/drain": ("dr1",),
        },
        before=(
            *((host, _SECOND_TIER) for host in BACKENDS),
            ("balancer", f"sed 's/10.0.0.2/10.0.0.1/' {_TWO_TIERS}/xdplb.toml >/etc/xdplb/xdplb.toml"),
        ),
        values={"10.0.0.21": "10.0.0.11", "--quiet 10s": "--quiet 1s"},
        has_web_servers=False,
        then={"* -s quit": "while [ -e /srv/l7/nginx.pid ]; do sleep 0.1; done"},
    ),
)
