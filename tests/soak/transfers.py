# SPDX-License-Identifier: Apache-2.0
"""`scripts/soak --transfers`: large data through the balancer by NAT, both ways and by both families, and iperf3."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

from tests.bench.tables import print_table
from tests.netns.balancer import SERVICE
from tests.netns.conftest import new_lab
from tests.netns.test_traffic_nat import NatBalancer, reply_by_balancer
from tests.waiting import until
from xdplb.net import ethtool
from xdplb.net.lab import ADDRESSES, ADDRESSES6, VIP, VIP6
from xdplb.net.lab_hosts import forward_packets

__all__ = ["transfer"]

HOST, DIGEST_PORT, FILE_PORT, IPERF_PORT = "dr1", 8080, 8090, 5201
CHUNK = 1 << 20
IPERF_SECONDS = 5
PATIENCE = 600
VIPS = {4: str(VIP), 6: f"[{VIP6}]"}
UPLOADS, DOWNLOADS = 80, 9000
"""The ports of the VIPs."""


def transfer(megabytes: int) -> list[str]:
    """Move this much each way, print a table, and return what went wrong."""
    with new_lab() as lab:
        balancer = NatBalancer(lab)
        lab.inside("balancer", forward_packets)
        lab.inside(HOST, lambda: ethtool.finish_checksums("eth0"))
        reply_by_balancer(balancer, "balancer")
        body = lab.folder / "body"
        digest = _make(body, megabytes)
        _serve(balancer, body)
        balancer.start()
        for family, addresses in ((4, ADDRESSES), (6, ADDRESSES6)):
            for port, own in ((UPLOADS, DIGEST_PORT), (DOWNLOADS, FILE_PORT)):
                balancer.add_nat(HOST, key=f"{VIPS[family]}:{port}/tcp", port=own, addresses=addresses)
        balancer.add_nat(HOST, key=f"{VIP}:{IPERF_PORT}/tcp+udp", port=IPERF_PORT)
        rows, wrong = [], []
        for family in (4, 6):
            for way, digest_of in (("download", _download), ("upload", _upload)):
                began = time.monotonic()
                found = digest_of(balancer, family, body)
                rows.append(_row(f"{way}, IPv{family}", megabytes, time.monotonic() - began))
                if found != digest:
                    wrong.append(f"{way} by IPv{family}: SHA-256 {found}, not {digest}")
        for words, options in (("client sends", []), ("backend sends", ["-R"]), ("client sends UDP", ["-u", "-b200M"])):
            rows.append(_iperf(balancer, words, options))
        print_table(["", "MB", "seconds", "Mbit/s"], rows)
        drops = {reason: count for reason, count in balancer.drops().items() if count}
        return [*wrong, *([f"dropped: {drops}"] if drops else [])]


def _serve(balancer: NatBalancer, body: Path) -> None:
    """Run the backend's services."""
    files = [sys.executable, "-m", "http.server", "--bind", "::", "--directory", str(body.parent), str(FILE_PORT)]
    services = {
        DIGEST_PORT: [sys.executable, SERVICE, HOST, str(DIGEST_PORT)],
        FILE_PORT: files,
        IPERF_PORT: ["iperf3", "-s", "-p", str(IPERF_PORT)],
    }
    for port, command in services.items():
        balancer.lab.popen(HOST, command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        until(lambda port=port: f":{port} " in balancer.lab.run(HOST, ["ss", "-Htln"]).stdout)  # type: ignore[misc]


def _make(path: Path, megabytes: int) -> str:
    """Write random bytes; return their SHA-256."""
    digest = hashlib.sha256()
    with path.open("wb") as file:
        for _ in range(megabytes):
            chunk = os.urandom(CHUNK)
            digest.update(chunk)
            file.write(chunk)
    return digest.hexdigest()


def _download(balancer: NatBalancer, family: int, body: Path) -> str:
    got = body.with_name("got")
    asked = ["curl", "-gsSf", "-o", str(got), f"http://{VIPS[family]}:{DOWNLOADS}/{body.name}"]
    balancer.lab.run("client", asked, timeout=PATIENCE)
    with got.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _upload(balancer: NatBalancer, family: int, body: Path) -> str:
    asked = ["curl", "-gsSf", "-H", "Expect:", "-X", "POST", "-T", str(body), f"http://{VIPS[family]}:{UPLOADS}/digest"]
    return balancer.lab.run("client", asked, timeout=PATIENCE).stdout.strip()


def _iperf(balancer: NatBalancer, words: str, options: list[str]) -> tuple[str, ...]:
    asked = ["iperf3", "-c", str(VIP), "-p", str(IPERF_PORT), "-t", str(IPERF_SECONDS), "-J", *options]
    told = json.loads(balancer.lab.run("client", asked, timeout=PATIENCE).stdout)["end"]
    received = told.get("sum_received") or told["sum"]
    return _row(f"iperf3, {words}", received["bytes"] / CHUNK, received["seconds"])


def _row(what: str, megabytes: float, seconds: float) -> tuple[str, ...]:
    return (what, f"{megabytes:.0f}", f"{seconds:.1f}", f"{megabytes * CHUNK * 8 / 1e6 / seconds:.0f}")
