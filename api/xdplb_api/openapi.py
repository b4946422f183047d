# SPDX-License-Identifier: Apache-2.0
"""The OpenAPI document: what FastAPI derives from the routes, and what it cannot know."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from xdplb.model.role import Role

from .problems import MEDIA_TYPE, Problem
from .rights.needs import NEEDS

__all__ = ["DESCRIPTION", "TAGS", "install"]

DESCRIPTION = """\
xdplb balances TCP and UDP over backends in XDP. This API configures it and reports its status.

- The configuration (`weight`, `admin_state`, …) and the status (`status`) are separate. A change is answered when the
  data plane has it: `observed_generation` equals `generation`.
- Every change can be sent with `dry_run=true`, and with `If-Match`: the `ETag` that it is based on.
- Every error is an `application/problem+json` (RFC 9457) that names the fields. After an error nothing has changed.
- The API is served on a Unix socket: `curl --unix-socket /run/xdplb/api.sock http://localhost/v1/vips`.

- Every operation needs a role: `read`, `operate` or `admin` (`x-xdplb-role`). On the Unix socket a process has that of
  its groups, and root is admin. On TCP it is that of a token (`Authorization: Bearer TOKEN`) or a client certificate.
- A `POST`, and the `GET` of a capture, act without a body that says so: they need the header
  `Content-Type: application/json` or `Xdplb-Client`, which no web page of another site can send.
- Everything is said once and in one way: a parameter, a field or a header that is given twice is refused, and numbers
  are digits without a sign, blanks or leading zeros.

The page at `/docs` is made from this document. It has no script, and needs no CDN and no other host.
"""

TAGS: list[dict[str, Any]] = [
    {"name": "vips", "description": "The virtual services: address, port and protocol that clients talk to."},
    {"name": "backends", "description": "The hosts that answer for a VIP."},
    {"name": "config", "description": "All of it at once, several changes in one step, and who owns it."},
    {"name": "drain", "description": "Taking a backend out without cutting a connection."},
    {"name": "health checks", "description": "Checks that decide which backends are used."},
    {"name": "access", "description": "The sources that a VIP accepts packets from."},
    {"name": "stats", "description": "Counters. They only grow while the VIP or backend exists."},
    {"name": "explain", "description": "What would happen to a packet, and why."},
    {"name": "capture", "description": "Packets as XDP saw and sent them."},
    {"name": "events", "description": "What has happened, and what happens."},
    {"name": "dataplane", "description": "What is loaded in the kernel, and the status of the balancer."},
    {"name": "nodes", "description": "The balancers that serve the same VIPs, and taking one of them out."},
    {"name": "dns", "description": "The names of VIPs, and what a node that is gone has left there."},
    {"name": "tokens", "description": "What those who come by TCP show to be let in. Needs the role admin."},
    {"name": "health", "description": "Liveness and readiness, for a supervisor of the daemon."},
    {"name": "version", "description": "The version of the daemon."},
]

MERGE_PATCH = "application/merge-patch+json"

SECURITY_SCHEMES: dict[str, Any] = {
    "token": {"type": "http", "scheme": "bearer", "description": "A token of `xdplb token add`, on TCP."},
    "certificate": {"type": "mutualTLS", "description": "A client certificate that has a role, on TCP with TLS."},
}

_REFUSALS = {
    "401": "On TCP: there is no token and no client certificate, or the token is not valid.",
    "403": "Who asks does not have the role that this needs, or it is a request of a web page.",
}


def install(app: FastAPI) -> None:
    """Serve the whole document, made once, as `/openapi.json` of `app`."""

    def document() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _document(app)
        return app.openapi_schema

    app.openapi = document  # type: ignore[method-assign]


def _document(app: FastAPI) -> dict[str, Any]:
    document = get_openapi(
        title=app.title,
        version=app.version,
        description=app.description,
        tags=app.openapi_tags,
        routes=app.routes,
        separate_input_output_schemas=False,  # what GET /v1/config answers is what its PUT takes
    )
    schemas = document["components"]["schemas"]
    problem = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
    schemas.update(problem.pop("$defs"))
    schemas["Problem"] = problem
    document["components"]["securitySchemes"] = SECURITY_SCHEMES
    for path in document["paths"].values():
        for operation in path.values():
            _add_rights(operation)
        if "patch" in path:
            content = path["patch"]["requestBody"]["content"]
            content[MERGE_PATCH] = content["application/json"]
    return document


def _add_rights(operation: dict[str, Any]) -> None:
    """Say how to be let in, with which role, and what is answered without it."""
    role = operation.setdefault(NEEDS, Role.ADMIN.value)
    # The empty one is for the Unix socket: there the kernel tells who asks.
    operation["security"] = [{}, *({name: [role]} for name in SECURITY_SCHEMES)]
    content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    for status, description in _REFUSALS.items():
        operation["responses"][status] = {"description": description, "content": content}
