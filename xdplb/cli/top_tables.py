# SPDX-License-Identifier: Apache-2.0
"""The tables of `xdplb top`: which columns there are, and what is in a cell. Nothing here draws."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from xdplb.client.bodies import BackendOut, StatsOut, VipOut
from xdplb.model.printable import printable

from .output import moment, number, percent
from .top_reading import Reading
from .vip_table import vip_text

__all__ = [
    "BACKENDS",
    "DROPS",
    "VIPS",
    "WIDE",
    "Cell",
    "Column",
    "Row",
    "Table",
    "cut",
    "matching",
    "ordered",
    "short",
    "totals",
]

WIDE = 100
"""From how many columns of the terminal on there are columns that do not fit into 80."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column: its heading, how wide it is (0: what the others leave), and if only wide terminals have it."""

    heading: str
    width: int
    is_number: bool = True
    is_wide: bool = False


@dataclass(frozen=True, slots=True)
class Cell:
    """A cell's text, and what it is sorted by; None is sorted last."""

    text: str
    order: float | str | None


@dataclass(frozen=True, slots=True)
class Row:
    """A row. `state` is the word that its colour is chosen by, `about` what is said of it below the table."""

    key: str
    cells: tuple[Cell, ...]
    state: str
    about: str


@dataclass(frozen=True, slots=True)
class Table:
    """A table: its columns, by which it is sorted at first, and its rows of a reading."""

    columns: tuple[Column, ...]
    sorted_by: int
    rows: Callable[[Reading], list[Row]]


def short(value: float | None) -> str:
    """Return a number in at most five characters, 1.2, 123 or 1.23M, a dash for None."""
    if value is None:
        return "-"
    prefixes = iter(("k", "M", "G", "T", "P"))
    prefix = ""
    while round(value) >= 1000 and prefix != "P":
        value, prefix = value / 1000, next(prefixes)
    if not prefix:
        return f"{value:.{1 if 0 < value < 9.95 else 0}f}"
    return f"{value:.{2 if value < 9.995 else 1 if value < 99.95 else 0}f}{prefix}"


def cut(text: str, width: int) -> str:
    """Return `text` in `width` characters. Its end is kept: there addresses differ, and ports are."""
    text = printable(text)
    return text if len(text) <= width else f"…{text[len(text) - width + 1 :]}"


def ordered(rows: Iterable[Row], column: int, *, descending: bool) -> list[Row]:
    """Return the rows sorted by a column; those without a value come last, and equal ones stay as they are."""
    rows = list(rows)
    known = [row for row in rows if row.cells[column].order is not None]
    unknown = [row for row in rows if row.cells[column].order is None]
    return [*sorted(known, key=lambda row: _order(row, column), reverse=descending), *unknown]


def _order(row: Row, column: int) -> Any:
    return row.cells[column].order


def matching(rows: Iterable[Row], words: str) -> list[Row]:
    """Return the rows in which every one of the words is, in whatever case."""
    wanted = words.lower().split()
    return [row for row in rows if all(word in _text_of(row) for word in wanted)]


def _text_of(row: Row) -> str:
    return " ".join([row.key, row.state, *(cell.text for cell in row.cells)]).lower()


def _vip_rows(reading: Reading) -> list[Row]:
    found = {each["vip"]: each for each in reading.rates["vips"]} if reading.rates else {}
    whole = _sum(each["packets"] for each in found.values())
    return [_vip_row(place, vip, found.get(vip_text(vip)), whole) for place, vip in enumerate(reading.vips)]


def _vip_row(place: int, vip: VipOut, rate: Any, whole: float) -> Row:
    key, status = vip_text(vip), vip["status"]
    word = status["operating_status"].lower().replace("_", " ")
    serving = status["backends_serving"]
    about = [f"{vip['name']}  {key}" if vip["name"] else key, f"{vip['forward']}, {vip['scheduler']}"]
    slots = status["slots"]
    if slots["moving"] or slots["pinned"]:
        about.append(f"{number(slots['moving'])} slots moving, {number(slots['pinned'])} pinned")
    return Row(
        key,
        (
            Cell(vip["name"] or key, place),
            Cell(word, word),
            Cell(f"{serving}/{status['backends']}", serving),
            *_rate_cells(rate, whole),
            _number_cell(_of(rate, "at_risk")),
            Cell(vip["forward"], vip["forward"]),
        ),
        word,
        _about("  ".join(about), status["reason"]),
    )


def _backend_rows(reading: Reading) -> list[Row]:
    of_vip = (
        next((each for each in reading.rates["vips"] if each["vip"] == reading.vip), None) if reading.rates else None
    )
    found = {each["backend"]: each for each in of_vip["backends"]} if of_vip else {}
    whole = _sum(each["packets"] for each in found.values())
    return [
        _backend_row(place, backend, found.get(backend["address"]), whole)
        for place, backend in enumerate(reading.backends)
    ]


def _backend_row(place: int, backend: BackendOut, rate: Any, whole: float) -> Row:
    status, drain = backend["status"], backend["status"]["drain"]
    word: str = status["health"] if backend["admin_state"] == "ready" else backend["admin_state"]
    if drain is not None:
        word = drain["state"].replace("_", " ")
    latency = status["handshakes"]
    weight = status["effective_weight"]
    about = [
        backend["address"],
        f"{status['health']} since {moment(status['since'])}",
        f"weight {weight:g}",
        f"{percent(status['share'])} of the slots",
    ]
    why = [status["reason"], status["hint"]]
    if drain is not None:
        left = "connections are not counted" if drain["flows"] is None else f"{number(drain['flows'])} connections left"
        why.insert(0, f"drain: {left}, until {moment(drain['deadline'])} at the latest")
    return Row(
        backend["address"],
        (
            Cell(backend["address"], place),
            Cell(word, word),
            *_rate_cells(rate, whole),
            _latency_cell(latency["p50_seconds"] if latency else None),
            _latency_cell(latency["p99_seconds"] if latency else None),
            Cell(f"{weight:g}", weight),
            _number_cell(status["flows"]),
        ),
        word,
        _about("  ".join(about), *why),
    )


def _rate_cells(rate: Any, whole: float) -> tuple[Cell, ...]:
    packets, size = _of(rate, "packets"), _of(rate, "bytes")
    share = packets / whole if packets is not None and whole else None
    return (
        _number_cell(packets),
        _number_cell(None if size is None else size * 8),
        _number_cell(_of(rate, "new_flows")),
        Cell("-" if share is None else f"{share:.0%}", share),
    )


def _drop_rows(reading: Reading) -> list[Row]:
    now = _reasons(reading.rates) if reading.rates else {}
    return [
        Row(
            f"{action} {reason}",
            (
                Cell(reason, reason),
                Cell(action, action),
                _number_cell(now.get((action, reason))),
                Cell(number(count), count),
            ),
            "warning" if action == "drop" and now.get((action, reason)) else "",
            _about(f"{action} {reason}", "What it means, and what to do: docs/reference/reasons.md"),
        )
        for (action, reason), count in _reasons(reading.stats).items()
        if count
    ]


def _reasons(stats: StatsOut) -> dict[tuple[str, str], Any]:
    kinds = {"drop": stats["drops"], "pass": stats["passes"], "answer": stats["answers"]}
    counted = {(action, reason): count for action, counts in kinds.items() for reason, count in counts.items()}
    return {**counted, ("evict", "flow_record"): stats["flow_evictions"]}


def _of(rate: Any, name: str) -> float | None:
    return None if rate is None else rate.get(name)


def _number_cell(value: float | None) -> Cell:
    return Cell(short(value), value)


def _latency_cell(seconds: float | None) -> Cell:
    if seconds is None:
        return Cell("-", None)
    if seconds < 0.001:
        return Cell(f"{seconds * 1e6:.0f}µs", seconds)
    if seconds < 0.9995:
        return Cell(f"{seconds * 1000:.{1 if seconds < 0.0995 else 0}f}ms", seconds)
    return Cell(f"{short(seconds)}s", seconds)


def _sum(values: Iterable[float | None]) -> float:
    return sum(value for value in values if value is not None)


def _about(*parts: str) -> str:
    return "\n".join(printable(part) for part in parts if part)


_RATES = (Column("PKT/S", 6), Column("BIT/S", 6), Column("NEW/S", 6), Column("SHARE", 6))

VIPS = Table(
    (
        Column("VIP", 0, is_number=False),
        Column("STATUS", 12, is_number=False),
        Column("UP", 7),
        *_RATES,
        Column("AT RISK/S", 10, is_wide=True),
        Column("FORWARD", 8, is_number=False, is_wide=True),
    ),
    3,
    _vip_rows,
)
BACKENDS = Table(
    (
        Column("BACKEND", 0, is_number=False),
        Column("STATE", 9, is_number=False),
        *_RATES,
        Column("P50", 6),
        Column("P99", 6),
        Column("WEIGHT", 7, is_wide=True),
        Column("FLOWS", 6, is_wide=True),
    ),
    2,
    _backend_rows,
)
DROPS = Table(
    (
        Column("REASON", 0, is_number=False),
        Column("ACTION", 7, is_number=False),
        Column("PER SECOND", 11),
        Column("SINCE START", 16),
    ),
    2,
    _drop_rows,
)


def totals(reading: Reading) -> str:
    """Return the sums of all VIPs in a line."""
    vips = len(reading.vips)
    count = f"{number(vips)} VIP{'' if vips == 1 else 's'}"
    if reading.rates is None:
        return f"{count}, rates come with the next reading"
    each = reading.rates["vips"]
    return (
        f"{count}  {short(_sum(one['packets'] for one in each))} packets/s"
        f"  {short(8 * _sum(one['bytes'] for one in each))} bits/s"
        f"  {short(_sum(one['new_flows'] for one in each))} new flows/s"
        f"  {short(_sum(reading.rates['drops'].values()))} drops/s"
    )
