# SPDX-License-Identifier: Apache-2.0
"""`/docs`: the OpenAPI document as a page. It has no script and asks no other host: it needs nothing but this API.

Swagger UI would be 1.5 MB of other people's JavaScript to keep current, running where this API can be reached.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import HTMLResponse

__all__ = ["DOCS_PATH", "install", "page_of"]

DOCS_PATH = "/docs"

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 70em; margin: 2em auto; padding: 0 1em; }
code { background: #8882; padding: 0 .2em; border-radius: .2em; }
details { border: 1px solid #8884; border-radius: .3em; margin: .4em 0; padding: .3em .8em; }
summary b { display: inline-block; width: 4.5em; }
table { border-collapse: collapse; } td, th { border-bottom: 1px solid #8884; padding: .2em .8em .2em 0;
  text-align: left; vertical-align: top; }
"""
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'sha256-"
    + base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
    + "'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}
_CODE = re.compile(r"`([^`]*)`")


def install(app: FastAPI) -> None:
    """Serve the page of `app`'s document, made once."""
    made: list[str] = []

    async def docs(_: Request) -> HTMLResponse:
        if not made:
            made.append(page_of(app.openapi()))
        return HTMLResponse(made[0], headers=_HEADERS)

    app.add_route(DOCS_PATH, docs, include_in_schema=False)


def page_of(document: Mapping[str, Any]) -> str:
    """Return the page that shows an OpenAPI document: its operations by tag, then its schemas."""
    info = document["info"]
    return "".join(
        [
            '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">',
            f"<title>{escape(info['title'])} API</title><style>{_STYLE}</style></head><body>",
            f"<h1>{escape(info['title'])} {escape(info['version'])}</h1>",
            *_text(info["description"]),
            '<p>The document itself is <a href="/openapi.json">/openapi.json</a>: Swagger UI, an editor or a generator',
            " of clients can read it.</p>",
            *(part for tag in document["tags"] for part in _tag(tag, document["paths"])),
            "<h2>Schemas</h2>",
            *(part for name, schema in document["components"]["schemas"].items() for part in _schema(name, schema)),
            "</body></html>",
        ]
    )


def _tag(tag: Mapping[str, str], paths: Mapping[str, Any]) -> Iterator[str]:
    yield f"<h2>{escape(tag['name'])}</h2>"
    yield from _text(tag["description"])
    for path, methods in paths.items():
        for method, operation in methods.items():
            if tag["name"] in operation["tags"]:
                yield from _operation(method.upper(), path, operation)


def _operation(method: str, path: str, operation: Mapping[str, Any]) -> Iterator[str]:
    summary = escape(operation["summary"])
    yield f'<details id="{escape(operation["operationId"])}"><summary><b>{method}</b> <code>{escape(path)}</code> '
    yield f"{summary}</summary>"
    yield from _text(operation["description"])
    rows = [
        (each["name"], f"{each['in']}{', required' if each['required'] else ''}", each["schema"], each["description"])
        for each in operation.get("parameters", ())
    ]
    yield from _table(("Parameter", "In", "Type", ""), [(n, w, _type(s), d) for n, w, s, d in rows])
    for media_type, content in operation.get("requestBody", {}).get("content", {}).items():
        yield f"<p>Body, <code>{escape(media_type)}</code>: {_type(content['schema'])}</p>"
    answers = [
        (
            status,
            ", ".join(_type(content["schema"]) for content in answer.get("content", {}).values()),
            answer["description"],
        )
        for status, answer in operation["responses"].items()
    ]
    yield from _table(("Status", "Body", ""), answers)
    yield "</details>"


def _schema(name: str, schema: Mapping[str, Any]) -> Iterator[str]:
    yield f'<details id="{escape(name)}"><summary>{escape(name)}</summary>'
    yield from _text(schema.get("description", ""))
    required = schema.get("required", ())
    rows = [
        (field, "required" if field in required else "", _type(each), each.get("description", ""))
        for field, each in schema.get("properties", {}).items()
    ]
    yield from _table(("Field", "", "Type", ""), rows)
    if "enum" in schema:
        yield f"<p>{_type(schema)}</p>"
    yield "</details>"


def _table(headings: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> Iterator[str]:
    """Yield a table. The last cell of a row is text, the last but one is HTML."""
    if not rows:
        return
    yield f"<table><tr>{''.join(f'<th>{heading}</th>' for heading in headings)}</tr>"
    for *names, kind, text in rows:
        cells = "".join(f"<td>{escape(name)}</td>" for name in names)
        yield f"<tr>{cells}<td>{kind}</td><td>{_inline(text)}</td></tr>"
    yield "</table>"


def _type(schema: Mapping[str, Any]) -> str:
    """Return what a schema takes, as HTML: its type with its bounds, or a link to it."""
    if "$ref" in schema:
        name = escape(schema["$ref"].rpartition("/")[2])
        return f'<a href="#{name}">{name}</a>'
    if "anyOf" in schema:
        return " or ".join(_type(each) for each in schema["anyOf"])
    if "enum" in schema or "const" in schema:
        return ", ".join(f"<code>{escape(str(each))}</code>" for each in schema.get("enum", [schema.get("const")]))
    if schema.get("type") == "array":
        return f"array of {_type(schema['items'])}"
    bounds = [
        f"{sign} {schema[bound]:g}"
        for bound, sign in (("minimum", "≥"), ("exclusiveMinimum", "&gt;"), ("maximum", "≤"))
        if bound in schema
    ]
    return " ".join([escape(schema.get("format") or schema.get("type", "")), *bounds])


def _text(text: str) -> Iterator[str]:
    """Yield a description, of which paragraphs, lists and code are shown as such."""
    for block in filter(None, (part.strip() for part in text.split("\n\n"))):
        if block.startswith("- "):
            yield f"<ul>{''.join(f'<li>{_inline(item)}</li>' for item in block[2:].split(chr(10) + '- '))}</ul>"
        else:
            yield f"<p>{_inline(block)}</p>"


def _inline(text: str) -> str:
    return _CODE.sub(r"<code>\1</code>", escape(text))
