"""The OpenAPI document: what FastAPI says of the routes, and what it cannot know."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from .problems import Problem

__all__ = ["DESCRIPTION", "TAGS", "install"]

DESCRIPTION = """\
xdplb balances TCP and UDP over backends in XDP. This is how it is told what to do and asked how it is.

- What was asked (`weight`, `admin_state`, …) and what is so (`status`) are two things. A change is answered when the
  data plane has it: `observed_generation` equals `generation`.
- Every change can be sent with `dry_run=true`, and with the `ETag` it was decided upon as `If-Match`.
- Every error is an `application/problem+json` (RFC 9457); it names the fields, and after one nothing has changed.
- It is served on a Unix socket: `curl --unix-socket /run/xdplb/api.sock http://localhost/v1/vips`.

The page at `/docs` loads its scripts from a public CDN; without access to it, read `/openapi.json`.
"""

TAGS: list[dict[str, Any]] = [
    {"name": "vips", "description": "The virtual services: address, port and protocol that clients talk to."},
    {"name": "backends", "description": "The hosts that answer for a VIP."},
    {"name": "drain", "description": "Taking a backend out without cutting a connection."},
    {"name": "health checks", "description": "What decides which backends are used."},
    {"name": "access", "description": "Which sources a VIP takes packets from."},
    {"name": "stats", "description": "Counters. They only grow while what they count is there."},
    {"name": "explain", "description": "What would become of a packet, and why."},
    {"name": "capture", "description": "Packets as XDP saw and sent them."},
    {"name": "dataplane", "description": "What is loaded in the kernel, and the status of the whole."},
    {"name": "health", "description": "For whatever supervises the daemon."},
    {"name": "version", "description": "What runs here."},
]

MERGE_PATCH = "application/merge-patch+json"


def install(app: FastAPI) -> None:
    """Have `app` answer `/openapi.json` with the whole document, made once."""

    def document() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _document(app)
        return app.openapi_schema

    app.openapi = document  # type: ignore[method-assign]


def _document(app: FastAPI) -> dict[str, Any]:
    document = get_openapi(
        title=app.title, version=app.version, description=app.description, tags=app.openapi_tags, routes=app.routes
    )
    schemas = document["components"]["schemas"]
    problem = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
    schemas.update(problem.pop("$defs"))
    schemas["Problem"] = problem
    for path in document["paths"].values():
        if "patch" in path:
            content = path["patch"]["requestBody"]["content"]
            content[MERGE_PATCH] = content["application/json"]
    return document
