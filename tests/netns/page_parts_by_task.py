# SPDX-License-Identifier: Apache-2.0
"""What the pages for one task each need, so that all that is typed on them can be typed in a lab."""

from __future__ import annotations

from .page_lab import BACKENDS, web
from .page_part import Part

__all__ = ["BY_TASK"]

_HAS_WEB = "xdplb vip ls | grep -q 203.0.113.10"
_IS_CHECKED = """until xdplb health ls web -o json | jq -e 'any(.. | objects; .passed? == true)'; do sleep 0.2; done"""
"""The first check by the traffic's own way loads programs."""

_END = """pid=$(xdplb events --kind daemon_started -n 1 -o json | jq '.events[-1].data.pid') && kill $pid &&
until [ ! -e /proc/$pid ] || grep -q '^State:.Z' /proc/$pid/status; do sleep 0.1; done"""
"""What Ctrl-C does, and `systemctl stop`."""

_LOSE = f"{_END} && mkdir -p /var/lib/lost && mv /var/lib/xdplb/state.db* /var/lib/lost/"
_AS_BEFORE = "xdplb backend-host undo 203.0.113.10:80/tcp\nxdplb backend-host setup 203.0.113.10 --forward dr"
"""What other pages find on a backend."""

_PACKAGE = "installs the package, which tests/package does in a bare Debian"


def _web(*more: str) -> tuple[tuple[str, str], ...]:
    return (("balancer", "\n".join([web(), *more])),)


BY_TASK = (
    Part(
        "service.md",
        ("The service: start, stop, reload",),
        before=_web(),
        then={"xdplb down --all": "systemctl start xdplb"},
    ),
    Part("service.md", ("Status and doctor",)),
    Part("backup.md", before=_web(), then={"xdplb backup /root/*": "systemctl stop xdplb", "xdplb up *": _HAS_WEB}),
    Part(
        "state.md",
        before=_web(),
        then={
            "systemctl start xdplb": f"{_HAS_WEB} && {_LOSE} && ! systemctl start xdplb",
            "xdplb up * --adopt-maps": f"{_HAS_WEB} && {_LOSE}",
            "xdplb up * --discard-maps": f"! {_HAS_WEB}",
        },
    ),
    Part("drains.md", before=_web(), values={"--wait": "--wait --quiet 1s"}),
    Part("plan.md", before=_web("xdplb config dump >config.toml")),
    Part("connections.md", before=_web(), values={"sleep 900": "sleep 1"}),
    Part("health.md", ("Health: who gets connections when backends fail",), before=_web()),
    Part(
        "health.md",
        ("Backups", "Refusing at once", "Panic: too few are healthy", "Slow start", "Flap damping", "max_new_flows"),
        before=_web(),
    ),
    Part(
        "checks.md",
        options="--exec-checks",
        before=_web("xdplb vip add 203.0.113.10:5432/tcp --name db"),
        then={"xdplb health set web *": _IS_CHECKED},
    ),
    Part("passive.md", before=_web()),
    Part("readiness.md", before=_web()),
    Part(
        "watching.md",
        before=_web("mkdir -p /var/lib/node_exporter"),
        untried={"journalctl *": "asks the journal by severity, and no lab has one"},
        then={"curl *": "grep -q xdplb_build_info /var/lib/node_exporter/xdplb.prom"},
    ),
    Part("nics.md", before=_web()),
    Part(
        "tunnels.md",
        before=(("dr1", "ip route replace 198.51.100.0/24 via 10.0.0.1"),),
        places={"On the backend": BACKENDS[:1], "by hand": BACKENDS[:1]},
        values={"10.9.0.1": "10.0.0.1"},
        then={
            "xdplb doctor": _AS_BEFORE,
        },
    ),
    Part(
        "tiers.md",
        untried={"*": "needs a second tier of balancers, which test_traffic_tiers.py has"},
    ),
    Part("ipv6.md", places={"On the backend": BACKENDS[:1]}, values={"2001:db8:1::11": "2001:db8::11"}),
    Part(
        "own-addresses.md",
        then={
            "ip route add *": "ip route del blackhole 203.0.113.10/32",
            "sysctl *": "sysctl -w net.ipv4.ip_local_reserved_ports=",
        },
    ),
    Part("other-programs.md", untried={"bpftool map *": "bpftool is no package that the labs install"}),
    Part(
        "upgrades.md",
        before=_web(),
        untried={
            "apt install *": _PACKAGE,
            "git pull": "would change the clone that the tests are run from",
            "scripts/setup": "has made the clone that the tests are run from",
        },
        then={"xdplb up * --restore *": f"{_HAS_WEB} && {_END}"},
    ),
    Part(
        "sizing.md",
        untried={
            "scripts/pktgen *": "sends for long from a NIC of another host",
            "scripts/bench packet": "measures for minutes",
        },
    ),
)
