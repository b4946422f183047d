# SPDX-License-Identifier: Apache-2.0
"""BIND and Knot on a host of a lab, each primary for one zone, with folders and ports of their own."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.name_server import SECRET, key_file
from tests.waiting import until
from xdplb.net.lab import Lab

ZONE = "example.test"

_ZONE_FILE = """\
$TTL 300
@ IN SOA ns hostmaster 1 3600 600 86400 60
@ IN NS ns
ns IN A 10.0.0.1
alias.lb IN CNAME ns
hand.lb 77 IN A 192.0.2.1
"""

_BIND = """\
options {{
  directory "{folder}"; pid-file "{folder}/named.pid"; session-keyfile "{folder}/session.key"; lock-file none;
  listen-on port {port} {{ any; }}; listen-on-v6 port {port} {{ any; }};
  recursion no; dnssec-validation no; notify no; empty-zones-enable no;
}};
controls {{ }};
include "{folder}/xdplb.key";
key "stranger" {{ algorithm hmac-sha256; secret "{secret}"; }};
zone "{zone}" {{
  type primary; file "zone.db";
  update-policy {{ grant xdplb subdomain lb.{zone}. A AAAA TXT; }};
}};
"""

_KNOT = """\
server:
  listen: [ 0.0.0.0@{port}, ::@{port} ]
  rundir: "{folder}"
  user: root
database:
  storage: "{folder}"
log:
  - target: stderr
    any: info
key:
  - id: xdplb
    algorithm: hmac-sha256
    secret: {secret}
acl:
  - id: xdplb
    key: xdplb
    action: [ update, query ]
    update-type: [ A, AAAA, TXT ]
    update-owner: name
    update-owner-match: sub
    update-owner-name: [ lb.{zone}. ]
zone:
  - domain: {zone}
    storage: "{folder}"
    file: zone.db
    acl: xdplb
"""


@dataclass(frozen=True, slots=True)
class NameServer:
    """A server that runs: `kind` is bind or knot."""

    kind: str
    lab: Lab
    host: str
    address: str
    port: int
    folder: Path
    process: subprocess.Popen[bytes]

    def dig(self, name: str, kind: str = "A") -> list[str]:
        """Return the records of a name, as dig +short shows them."""
        asked = ["dig", f"@{self.address}", "-p", str(self.port), "+short", "+time=2", "+tries=2", name, kind]
        return sorted(line for line in self.lab.run("client", asked, check=False).stdout.splitlines() if line[0] != ";")

    def ttl(self, name: str, kind: str = "A") -> set[int]:
        """Return the TTLs of the records of a name."""
        asked = ["dig", f"@{self.address}", "-p", str(self.port), "+noall", "+answer", name, kind]
        return {int(line.split()[1]) for line in self.lab.run("client", asked).stdout.splitlines()}

    def edit(self, *lines: str) -> None:
        """Change records by hand, with nsupdate, such as `delete www.lb.example.test A`."""
        given = "\n".join([f"server {self.address} {self.port}", f"zone {ZONE}", *lines, "send", ""])
        self.lab.run("client", ["nsupdate", "-v", "-k", str(self.folder / "xdplb.key")], input=given)

    def stop(self) -> None:
        """Stop it, as if its host were gone."""
        self.process.kill()
        self.process.wait()


def start(lab: Lab, kind: str, host: str, *, address: str, port: int) -> NameServer:
    """Start a server, and return once it answers; one that was stopped goes on with its zone."""
    folder = lab.folder / f"{kind}-{port}"
    words = {"folder": folder, "port": port, "zone": ZONE, "secret": SECRET}
    if not folder.exists():
        folder.mkdir()
        (folder / "zone.db").write_text(_ZONE_FILE)
        key_file(folder)
        (folder / "server.conf").write_text((_BIND if kind == "bind" else _KNOT).format(**words))
    config = str(folder / "server.conf")
    command = ["named", "-g", "-c", config] if kind == "bind" else ["knotd", "-c", config]
    with (folder / "log").open("ab") as log:
        process = lab.popen(host, command, stdout=log, stderr=log)
    server = NameServer(kind, lab, host, address, port, folder, process)
    until(lambda: server.dig(f"hand.lb.{ZONE}") != [])
    return server


@contextmanager
def name_servers(lab: Lab) -> Iterator[dict[str, NameServer]]:
    """Yield BIND and Knot on the router."""
    yield {
        kind: start(lab, kind, "router", address="10.0.0.1", port=port)
        for kind, port in (("bind", 5301), ("knot", 5302))
    }
