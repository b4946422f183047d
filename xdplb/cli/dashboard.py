# SPDX-License-Identifier: Apache-2.0
"""`xdplb dashboard`: the daemon's dashboard for a browser on this host."""

from __future__ import annotations

from contextlib import suppress

import click

from xdplb.model.errors import ConflictError, InvalidError, PlatformError

from .output import note
from .params import Connection

__all__ = ["command"]

_PORT = 8781


@click.command(
    name="dashboard",
    short_help="Show the dashboard to a browser on this host.",
    epilog="""\b
Examples:
  xdplb dashboard
  xdplb dashboard --read-only --listen 127.0.0.1:9000
  ssh -t -L 8781:127.0.0.1:8781 lb1 sudo xdplb dashboard    # from your own desk""",
)
@click.option(
    "--listen",
    metavar="ADDRESS:PORT",
    default=f"127.0.0.1:{_PORT}",
    show_default=True,
    help="Where it is served: an address of loopback. Port 0 is any free one.",
)
@click.option("--read-only", is_flag=True, help="Let nothing be changed, whatever your own role allows.")
@click.option("--open", "opens", is_flag=True, help="Also open it in the browser of this host.")
@click.pass_obj
def command(connection: Connection, *, listen: str, read_only: bool, opens: bool) -> None:
    """Serve the dashboard on loopback, for as long as this runs.

    It prints a URL with a token that is made anew each time; without the token nobody gets anything but the empty page.
    What you do there is done with your own rights on the daemon's socket. Ctrl-C ends it.
    """
    from xdplb.client.page_server import PageServer

    client = connection.client()
    client.version()  # so that a daemon that does not run is told here, not in the browser
    address = _address(listen)
    try:
        server = PageServer(address, connection.target(), read_only=read_only)
    except OSError as error:
        reason = error.strerror or str(error)
        if "in use" in reason:
            raise ConflictError(f"{listen} is in use by another process", hint="use --listen 127.0.0.1:0") from None
        raise PlatformError(f"cannot listen on {listen}: {reason}", hint="use another --listen") from None
    with server:
        url = f"{server.url}#token={server.token}"
        click.echo(url)
        note("Ctrl-C ends it")
        if opens:
            click.launch(url)
        with suppress(KeyboardInterrupt):
            server.serve_forever(poll_interval=0.1)


def _address(listen: str) -> tuple[str, int]:
    """Return address and port; InvalidError if it is not one of loopback."""
    from ipaddress import ip_address

    host, _, port = listen.rpartition(":")
    name = "127.0.0.1" if host == "localhost" else host.strip("[]")
    try:
        if not (port.isascii() and port.isdigit() and int(port) <= 65535) or ("[" in host) != (":" in name):
            raise ValueError
        is_loopback = ip_address(name).is_loopback
    except ValueError:
        raise InvalidError.field(
            "/listen", f"{listen!r} is not an address and a port", hint=f"such as 127.0.0.1:{_PORT}"
        ) from None
    if not is_loopback:
        raise InvalidError.field(
            "/listen",
            f"the dashboard is not served on {listen}: the token would go over a network in clear",
            hint="use 127.0.0.1 and a tunnel (ssh -L), or `xdplb up --listen HOST:PORT` with TLS, which serves it too",
        )
    return name, int(port)
