# SPDX-License-Identifier: Apache-2.0
"""How the dashboard does with many VIPs, over a daemon with a data plane in memory.

    python -m tests.browser.large [VIPS [BACKENDS]]      1000 VIPs of 16 backends by default

It prints how long the page takes until it shows them, how long an update blocks it, and what memory it needs.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path

from tests.browser.driven import running_browser
from tests.contract.cli_daemon import options_in, parts_in
from tests.contract.cli_harness import xdplb
from tests.waiting import until
from xdplb.daemon.run import run

__all__ = ["large_daemon"]

_FIRST_VIP, _FIRST_BACKEND = IPv4Address("203.0.112.0"), IPv4Address("10.0.0.10")


def config_text(vips: int, backends: int) -> str:
    """Return a config file with so many VIPs that each have as many backends."""
    lines = []
    for number in range(vips):
        lines.append(
            f'[[vips]]\naddress = "{_FIRST_VIP + number}"\nport = 80\nprotocol = "tcp"\nname = "service-{number}"'
        )
        lines += [f'[[vips.backends]]\naddress = "{_FIRST_BACKEND + place}"' for place in range(backends)]
    return "\n".join(lines)


@contextmanager
def large_daemon(folder: Path, vips: int, backends: int) -> Iterator[tuple[str, str]]:
    """Run a daemon with such a configuration; yield the page's address and a token."""
    log, config = folder / "log", folder / "config.toml"
    config.write_text(config_text(vips, backends))
    argv = [sys.executable, "-m", "tests.browser.large", "serve", str(folder), str(vips), str(vips * backends)]
    with log.open("w") as written, subprocess.Popen(argv, stdout=written, stderr=written) as process:
        try:
            ours = ("--socket", str(folder / "api.sock"), "--request-timeout", "60s")
            until(lambda: xdplb(*ours, "status").returncode == 0, 60)
            applied = xdplb(*ours, "config", "apply", "-f", str(config))
            assert applied.returncode == 0, applied.stderr
            token = xdplb(*ours, "token", "add", "noc", "--role", "operate").stdout.strip()
            yield next(word.rstrip(",") for word in log.read_text().split() if word.startswith("http://127.")), token
        finally:
            process.kill()


def _serve(folder: Path, vips: int, backends: int) -> None:
    options = options_in(folder)
    api = replace(options.api, listen=(*options.api.listen, "127.0.0.1:0"))
    capacity = {"vips": vips, "backends": backends, "flows": 1024}
    run(replace(options, api=api, capacity=capacity), parts_in(folder))


def _measure(vips: int, backends: int) -> None:
    with ExitStack() as open_:
        folder = open_.enter_context(tempfile.TemporaryDirectory())
        base, token = open_.enter_context(large_daemon(Path(folder), vips, backends))
        browser = open_.enter_context(running_browser())
        found = browser.do("large", base, token=token, vip=f"service-{vips // 2}")
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    if sys.argv[1:2] == ["serve"]:
        _serve(Path(sys.argv[2]), *map(int, sys.argv[3:]))
    else:
        given = [int(word) for word in sys.argv[1:]]
        _measure(*given, *(1000, 16)[len(given) :])
