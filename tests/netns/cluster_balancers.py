# SPDX-License-Identifier: Apache-2.0
"""The balancers of a cluster lab with `xdplb up`, each with folders of its own, as peers of each other."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.certificates import Authority
from xdplb.net.lab_cluster import ADDRESSES, ADDRESSES6, ClusterLab

from .balancer import XDPLB, Balancer

__all__ = ["ClusterBalancer", "peers_of"]

_API_PORT = 8443


class ClusterBalancer(Balancer):
    """One of the balancers: the operator's hands on it."""

    def __init__(self, lab: ClusterLab, host: str) -> None:
        super().__init__(lab, host)  # type: ignore[arg-type]
        self.folder = lab.folder / host
        self.folder.mkdir(exist_ok=True)
        self.socket = self.folder / "api.sock"
        self.log_file = self.folder / "daemon.log"
        self.options: list[str] = []
        """What it is started with."""
        self.pins = lab.home.bpffs / f"{host}-pins"

    def spawn(self, *options: str, nics: Sequence[str] = ("eth0",)) -> Any:
        """Run `xdplb up` and return at once."""
        places = ["--listen", f"unix:{self.socket}", "--state-dir", str(self.folder / "state")]
        places += ["--pin-dir", str(self.pins), "--node", self.host]
        with self.log_file.open("a") as log:
            return self.lab.popen(self.host, [XDPLB, "up", *nics, *places, *options], stdout=log, stderr=log)

    def down(self, *arguments: str) -> Any:
        """Run `xdplb down`."""
        return self.lab.run(self.host, [XDPLB, "down", *(arguments or ["--all"]), "--pin-dir", str(self.pins)])

    def nodes(self) -> dict[str, Any]:
        """Return the nodes that it knows, by name."""
        return {node["name"]: node for node in self.ask("node", "ls")["nodes"]}


def peers_of(host: str, others: Sequence[str], key: Path, authority: Authority) -> list[str]:
    """Return the options by which a balancer is a peer of these, over both families, with certificates of a CA."""
    certificate, secret = authority.sign(host, f"/CN={host}", names=f"IP:{ADDRESSES[host]}")
    options = ["--peer-listen", str(ADDRESSES[host]), "--peer-listen", f"[{ADDRESSES6[host]}]"]
    for other in others:
        options += ["--peer", str(ADDRESSES[other]), "--peer", str(ADDRESSES6[other])]
    where = f"{ADDRESSES[host]}:{_API_PORT}"
    options += ["--listen", where, "--tls-cert", str(certificate), "--tls-key", str(secret)]
    options += ["--tls-client-ca", str(authority.certificate), "--tls-client-role", "operate=*"]
    options += ["--advertise-url", f"https://{where}", "--peer-tls-ca", str(authority.certificate)]
    return [*options, "--peer-key-file", str(key), "--peer-tls-cert", str(certificate), "--peer-tls-key", str(secret)]
