# SPDX-License-Identifier: Apache-2.0
"""How what is there differs from what is asked for, for the error that it exists already."""

from __future__ import annotations

from dataclasses import fields

from xdplb.model.errors import FieldProblem

__all__ = ["differences"]


def differences(present: object, asked: object) -> tuple[FieldProblem, ...]:
    """Return the fields in which two objects of one dataclass differ, each with both values."""
    names = [field.name for field in fields(present)]  # type: ignore[arg-type]
    pairs = ((name, getattr(present, name), getattr(asked, name)) for name in names)
    return tuple(
        FieldProblem(f"/{name}", f"{name} ({_show(old)}, asked {_show(new)})") for name, old, new in pairs if old != new
    )


def _show(value: object) -> str:
    return "none" if value is None else str(value)
