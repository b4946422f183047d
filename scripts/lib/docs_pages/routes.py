# SPDX-License-Identifier: Apache-2.0
"""The table of routes of docs/reference/api.md, made from the API's OpenAPI document."""

from __future__ import annotations

from typing import Any

from xdplb_api.app import create_app

__all__ = ["made"]


def made() -> dict[str, str]:
    """Return the made part of the page by its name."""
    document = create_app(None, version="0").openapi()  # type: ignore[arg-type]  # nothing is asked of the control plane
    rows = [
        f"| `{method.upper()} {path}`{_query(operation)} | {operation['x-xdplb-role']} | {_words(operation)} |"
        for path, methods in sorted(document["paths"].items())
        for method, operation in methods.items()
    ]
    return {"routes": "\n".join(["| request | role | what it does |", "|---|---|---|", *rows])}


def _query(operation: dict[str, Any]) -> str:
    given = [f"`{each['name']}`" for each in operation.get("parameters", ()) if each["in"] == "query"]
    return f", with {', '.join(given)}" if given else ""


def _words(operation: dict[str, Any]) -> str:
    """Return the first paragraph of what an operation says of itself."""
    first: str = operation["description"].split("\n\n")[0]
    return " ".join(first.split()).replace("|", r"\|")
