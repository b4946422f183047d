# SPDX-License-Identifier: Apache-2.0
"""`xdplb top`: VIPs and backends live, in the terminal."""

from __future__ import annotations

import sys
from importlib.util import find_spec

import click

from xdplb.model.errors import PlatformError

from .completion import vip_names
from .params import Connection, positive_duration
from .vip_table import vip_text

__all__ = ["command"]

_CHANGING_ROLES = ("operate", "admin")


@click.command(
    name="top",
    short_help="Show VIPs and backends live, in the terminal.",
    epilog="""\b
Examples:
  xdplb top
  xdplb top --vip web --interval 1s
  xdplb top --read-only""",
)
@click.option(
    "--vip",
    metavar="VIP",
    shell_complete=vip_names,
    help="Begin with the backends of this VIP, given by its name or key.",
)
@click.option(
    "--interval",
    metavar="TIME",
    default="2s",
    show_default=True,
    callback=positive_duration,
    help="How often to read; less often from a daemon that takes long to answer.",
)
@click.option("--read-only", is_flag=True, help="Let nothing be changed, whatever your own role allows.")
@click.pass_obj
def command(connection: Connection, *, vip: str | None, interval: float, read_only: bool) -> int:
    """Show packets, bits and new flows per second of each VIP, and of its backends with their health and latency.

    Enter opens a VIP, Escape goes back, x shows the drops, / filters, s sorts by the next column, p pauses, ? lists all
    keys. With the role operate or admin, d drains the backend under the cursor and u undrains it, after showing what
    that would do. It is part of the extra: pip install 'xdplb[top]'. The Debian package has it.
    """
    if find_spec("textual") is None:
        raise PlatformError(
            "xdplb top needs Textual, which is not installed",
            hint="pip install 'xdplb[top]'; the Debian package has it. Without it: xdplb stats --rate 1s --watch",
        )
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise PlatformError("xdplb top needs a terminal", hint="without one: xdplb stats --rate 1s --watch")
    client = connection.client()  # so that a daemon that does not run, or does not know who asks, is told here
    role = client.whoami().json()["role"]
    key = None if vip is None else vip_text(client.vips.get(vip).json())
    from .top_app import TopApp

    app = TopApp(
        connection.silent_client,
        interval=interval,
        vip=key,
        why_read_only="--read-only" if read_only else "" if role in _CHANGING_ROLES else f"role {role}",
    )
    app.run()
    return app.return_code or 0
