# SPDX-License-Identifier: Apache-2.0
"""Which probe tries a check of each type."""

from __future__ import annotations

from collections.abc import Callable

from xdplb.control.health.probes.agent import Agent
from xdplb.control.health.probes.aim import Aim
from xdplb.control.health.probes.command import CommandProbe
from xdplb.control.health.probes.datagram import DatagramProbe
from xdplb.control.health.probes.dns import DnsProbe
from xdplb.control.health.probes.http import Http
from xdplb.control.health.probes.icmp import PingProbe
from xdplb.control.health.probes.probe import Keeper, Probe
from xdplb.control.health.probes.result import OnResult
from xdplb.control.health.probes.stream import StreamProbe
from xdplb.control.health.probes.text import Text
from xdplb.control.health.probes.tls_contexts import TlsFiles, TlsWanted
from xdplb.control.health.probes.udp import Udp
from xdplb.model.health import CheckType, HealthCheck

__all__ = ["new_probe"]


def new_probe(aim: Aim, keeper: Keeper, on_result: OnResult) -> Probe:
    """Return a probe of what is aimed at, which has not begun."""
    return _KINDS[aim.check.type](aim, keeper, on_result)


def _tls(check: HealthCheck) -> TlsWanted:
    files = TlsFiles(bool(check.verify), check.ca_file or "", check.cert_file or "", check.key_file or "")
    return TlsWanted(files, check.sni or "")


_KINDS: dict[CheckType, Callable[[Aim, Keeper, OnResult], Probe]] = {
    CheckType.HTTP: lambda aim, keeper, tell: StreamProbe(aim, keeper, tell, Http(aim)),
    CheckType.HTTPS: lambda aim, keeper, tell: StreamProbe(aim, keeper, tell, Http(aim), _tls(aim.check)),
    CheckType.TCP: lambda aim, keeper, tell: StreamProbe(aim, keeper, tell, Text(aim.check)),
    CheckType.TLS: lambda aim, keeper, tell: StreamProbe(aim, keeper, tell, Text(aim.check), _tls(aim.check)),
    CheckType.AGENT: lambda aim, keeper, tell: StreamProbe(aim, keeper, tell, Agent(aim.check)),
    CheckType.UDP: lambda aim, keeper, tell: DatagramProbe(aim, keeper, tell, Udp(aim.check)),
    CheckType.DNS: DnsProbe,
    CheckType.ICMP: PingProbe,
    CheckType.EXEC: CommandProbe,
}
