# SPDX-License-Identifier: Apache-2.0
"""What the balancers of a lab show each other: a key for their datagrams, and certificates for their APIs."""

from __future__ import annotations

import secrets
import subprocess
from ipaddress import IPv4Address
from pathlib import Path

__all__ = ["API_PORT", "Secrets"]

API_PORT = 8443
_NEW_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
_DAYS = "2"


class Secrets:
    """A key and a CA in a folder of their own, and a certificate for each balancer, made by openssl."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(mode=0o700)
        self._folder = folder
        self._peers_key, self._ca, self._ca_key = folder / "peers.key", folder / "ca.pem", folder / "ca.key"
        self._peers_key.touch(mode=0o600)
        self._peers_key.write_text(secrets.token_hex(32) + "\n")
        self._openssl("req", "-x509", *_NEW_KEY, "-keyout", self._ca_key, "-out", self._ca, "-subj", "/CN=lab")

    def options(self, node: str, address: IPv4Address, peers: list[IPv4Address]) -> list[str]:
        """Return the options of `xdplb up` by which a node and its peers tell each other of connections."""
        certificate, key = self._signed(node, address)
        options = ["--peer-listen", str(address), "--peer-key-file", str(self._peers_key)]
        options += [word for peer in peers for word in ("--peer", str(peer))]
        options += ["--listen", f"{address}:{API_PORT}", "--tls-cert", str(certificate), "--tls-key", str(key)]
        options += ["--tls-client-ca", str(self._ca), "--tls-client-role", "operate=*"]
        options += ["--advertise-url", f"https://{address}:{API_PORT}", "--peer-tls-ca", str(self._ca)]
        return [*options, "--peer-tls-cert", str(certificate), "--peer-tls-key", str(key)]

    def _signed(self, node: str, address: IPv4Address) -> tuple[Path, Path]:
        certificate, key, request, extensions = (self._folder / f"{node}.{end}" for end in ("pem", "key", "csr", "ext"))
        extensions.write_text(f"basicConstraints=critical,CA:FALSE\nsubjectAltName=IP:{address}\n")
        self._openssl("req", "-new", *_NEW_KEY, "-keyout", key, "-out", request, "-subj", f"/CN={node}")
        signed = ("-CA", self._ca, "-CAkey", self._ca_key, "-extfile", extensions)
        self._openssl("x509", "-req", "-in", request, *signed, "-out", certificate)
        return certificate, key

    def _openssl(self, command: str, *arguments: str | Path) -> None:
        days = () if "-new" in arguments else ("-days", _DAYS)
        subprocess.run(["openssl", command, *map(str, arguments), *days], check=True, capture_output=True)
