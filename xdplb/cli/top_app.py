# SPDX-License-Identifier: Apache-2.0
"""The program behind `xdplb top`.

The only modules that reach Textual are this one and its windows. They are loaded when the command runs, so that no
other command pays for them.
"""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import ClassVar, Literal

from rich.text import Text
from textual import events
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.widgets import DataTable, Footer, Input, Static

from xdplb.client import Client, XdplbError
from xdplb.client.bodies import BackendOut, DryRunOut
from xdplb.model.printable import printable

from .impact import impact_fields
from .params import duration_text
from .top_dialogs import Confirm, Keys
from .top_reading import Failure, Reader, Reading
from .top_tables import BACKENDS, DROPS, VIPS, WIDE, Column, Row, Table, cut, matching, ordered, totals
from .vip_table import vip_text

__all__ = ["TopApp"]

_Deed = Literal["drain", "undrain"]

_PADDING = 2
"""What the table puts around each cell, in columns; `_BAR` is its scroll bar."""
_BAR = 2
_LEAST_WIDTH = 8

_COLOURS = {
    "online": "green", "up": "green", "drained": "green",
    "degraded": "yellow", "drain": "yellow", "draining": "yellow", "timed out": "yellow", "cut": "yellow",
    "maint": "yellow", "unknown": "yellow", "warning": "yellow",
    "failing open": "red", "offline": "red", "no backend": "red", "down": "red",
}  # fmt: skip


class _Told(Message):
    """What the reader has."""

    def __init__(self, what: Reading | Failure) -> None:
        super().__init__()
        self.what = what


class _Planned(Message):
    """What a change would do, of the backend as it was then."""

    def __init__(self, deed: _Deed, vip: str, backend: BackendOut, plan: DryRunOut) -> None:
        super().__init__()
        self.deed: _Deed = deed
        self.vip = vip
        self.backend = backend
        self.plan = plan


class _Done(Message):
    """What came of a change, in a sentence."""

    def __init__(self, sentence: str, *, is_error: bool = False) -> None:
        super().__init__()
        self.sentence = sentence
        self.is_error = is_error


class TopApp(App[None]):
    """One table, of VIPs, of a VIP's backends or of drops, that is written anew with each reading."""

    ENABLE_COMMAND_PALETTE = False
    CSS = """
    #totals, #state { height: 1; }
    #totals { text-style: bold; }
    #state.lost { background: $error; color: $text; }
    #state.paused { background: $warning; color: $text; }
    DataTable { height: 1fr; }
    DataTable.old { opacity: 60%; }
    #about { height: 4; border-top: solid $foreground 30%; }
    #filter { display: none; }
    #filter.open { display: block; }
    Confirm, Keys { align: center middle; }
    .window { width: 100%; max-width: 100; height: auto; max-height: 90%; padding: 0 1; border: round $primary;
              background: $surface; }
    .window #effect { margin: 1 0; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "leave", "Back"),
        Binding("slash", "filter", "Filter", key_display="/"),
        Binding("s", "sort", "Sort"),
        Binding("r", "turn", "Turn", show=False),
        Binding("x", "drops", "Drops"),
        Binding("d", "change('drain')", "Drain"),
        Binding("u", "change('undrain')", "Undrain"),
        Binding("p", "pause", "Pause"),
        Binding("question_mark", "keys", "Keys", key_display="?"),
        Binding("q", "quit", "Quit"),
        Binding("ctrl+c", "quit", "Quit", show=False, priority=True),
    ]

    def __init__(
        self, make_client: Callable[[], Client], *, interval: float, vip: str | None = None, why_read_only: str = ""
    ) -> None:
        super().__init__()
        self._make_client = make_client
        self._interval = interval
        self._why_read_only = why_read_only
        self._vip = vip
        self._table = VIPS if vip is None else BACKENDS
        self._under_drops = self._table
        self._sorted = {id(table): (table.sorted_by, True) for table in (VIPS, BACKENDS, DROPS)}
        self._words = ""
        self._paused = False
        self._reading: Reading | None = None
        self._failure: Failure | None = None
        self._lost_at = ""
        self._rows: dict[str, Row] = {}
        self._columns: list[int] = []
        self._cursors: dict[int, str] = {}
        self._totals = Static(id="totals", markup=False)
        self._state = Static("reading", id="state", markup=False)
        self._grid = DataTable[Text](cursor_type="row")
        self._about = Static(id="about", markup=False)
        self._filter = Input(id="filter", placeholder="only rows with these words", compact=True)
        self._reader = Reader(make_client, lambda told: self._post(_Told(told)), interval)

    def compose(self) -> ComposeResult:
        """Put together the screen: totals, how it is, the table, what is said of a row, and the keys."""
        yield self._totals
        yield self._state
        yield self._grid
        yield self._about
        yield self._filter
        yield Footer(compact=True)

    def on_mount(self) -> None:
        """Begin to read."""
        for number in (signal.SIGTERM, signal.SIGHUP):
            with suppress(ValueError, RuntimeError):  # not in the main thread: then nobody signals us
                asyncio.get_running_loop().add_signal_handler(number, self.exit, None, 128 + number)
        self._grid.focus()
        self._reader.look_at(self._vip)
        self._reader.start()

    def on_unmount(self) -> None:
        """End reading."""
        self._reader.stop()

    def on_resize(self, _event: events.Resize) -> None:
        """Fit the columns to the new width."""
        self._columns = []
        self._show()

    def _post(self, message: Message) -> None:
        """Tell this program something, from any thread."""
        with suppress(RuntimeError):  # it has ended
            self.post_message(message)

    def on__told(self, message: _Told) -> None:
        """Show what was read, or that nothing was."""
        if isinstance(message.what, Failure):
            self._lost_at = self._lost_at or f"{message.what.at:%H:%M:%S}"
            self._failure = message.what
        else:
            self._failure, self._lost_at, self._reading = None, "", message.what
            if self._vip is not None and all(vip_text(each) != self._vip for each in message.what.vips):
                self.notify(f"there is no VIP {self._vip} any more", severity="warning", markup=False)
                self._look_at(None)
        self._show()

    def _show(self) -> None:
        """Write the lines and the table from what is known."""
        if not self._grid.is_attached:  # not yet, or not any more
            return
        self._show_state()
        if self._reading is None:
            return
        self._totals.update(Text(f"xdplb  {totals(self._reading)}"))
        rows = self._table.rows(self._reading) if self._is_of_this_vip() else []
        column, descending = self._sorted[id(self._table)]
        rows = ordered(matching(rows, self._words), column, descending=descending)
        self._write(rows)
        self._show_about()

    def _is_of_this_vip(self) -> bool:
        """Return whether the last reading has what the table is about: it may be from before Enter was pressed."""
        return self._table is not BACKENDS or (self._reading is not None and self._reading.vip == self._vip)

    def _show_state(self) -> None:
        line = self._state
        line.set_class(self._failure is not None, "lost")
        line.set_class(self._paused and self._failure is None, "paused")
        self._grid.set_class(self._failure is not None, "old")
        if self._failure is not None:
            hint = f" ({self._failure.hint})" if self._failure.hint else ""
            line.update(Text(printable(f"NO ANSWER since {self._lost_at} UTC: {self._failure.detail}{hint}")))
            return
        column, descending = self._sorted[id(self._table)]
        parts = [
            self._title(),
            f"by {self._table.columns[column].heading} {'▾' if descending else '▴'}",
            *([f"filter: {self._words}"] if self._words else ()),
            *([f"read only ({self._why_read_only})"] if self._why_read_only else ()),
        ]
        if self._reading is not None:  # in front: the rest may be cut
            every = f"every {duration_text(self._interval)}"
            parts.insert(0, f"{self._reading.at:%H:%M:%S} UTC, {'PAUSED' if self._paused else every}")
        line.update(Text(printable("  ".join(parts))))

    def _title(self) -> str:
        if self._table is DROPS:
            return "drops"
        return "VIPs" if self._vip is None else f"backends of {self._vip}"

    def _write(self, rows: list[Row]) -> None:
        """Write rows into the grid: only cells that differ, unless the rows or their order changed."""
        grid, width = self._grid, self.size.width
        columns = [i for i, column in enumerate(self._table.columns) if not column.is_wide or width >= WIDE]
        is_same = columns == self._columns and [row.key for row in rows] == list(self._rows)
        before, self._rows = self._rows, {row.key: row for row in rows}
        rest = max(_LEAST_WIDTH, width - _BAR - sum(self._table.columns[i].width + _PADDING for i in columns))
        if is_same:
            for row in rows:
                for place, i in enumerate(columns):
                    if row.cells[i] != before[row.key].cells[i] or row.state != before[row.key].state:
                        text = _drawn(row, i, self._table.columns[i], rest)
                        grid.update_cell(row.key, str(place), text)
            return
        was_at, scrolled = self._cursors.get(id(self._table)), grid.scroll_y
        if columns != self._columns:
            grid.clear(columns=True)
            sorted_by = self._sorted[id(self._table)][0]
            for place, i in enumerate(columns):
                column = self._table.columns[i]
                heading = Text(column.heading, "reverse" if i == sorted_by else "")
                heading.justify = "right" if column.is_number else "left"
                grid.add_column(heading, width=column.width or rest, key=str(place))
            self._columns = columns
        else:
            grid.clear()
        for row in rows:
            grid.add_row(*(_drawn(row, i, self._table.columns[i], rest) for i in columns), key=row.key)
        if was_at in self._rows:
            grid.move_cursor(row=grid.get_row_index(was_at), animate=False, scroll=False)
        grid.scroll_to(y=scrolled, animate=False)

    def _under_cursor(self) -> Row | None:
        grid = self._grid
        if not grid.is_valid_row_index(grid.cursor_row):
            return None
        return self._rows.get(grid.coordinate_to_cell_key(grid.cursor_coordinate).row_key.value or "")

    def _show_about(self) -> None:
        row = self._under_cursor()
        nothing = "no row has these words" if self._words else "there is nothing here yet"
        self._about.update(Text(nothing if row is None else row.about))

    def on_data_table_row_highlighted(self, _event: DataTable.RowHighlighted) -> None:
        """Say more of the row under the cursor, and remember it: rows move when the order changes."""
        if (row := self._under_cursor()) is not None and self._grid.has_focus:
            self._cursors[id(self._table)] = row.key
        self._show_about()

    def on_data_table_row_selected(self, event: DataTable.RowSelected) -> None:
        """Enter: show the backends of a VIP."""
        if self._table is VIPS and event.row_key.value is not None:
            self._look_at(event.row_key.value)

    def on_data_table_header_selected(self, event: DataTable.HeaderSelected) -> None:
        """Sort by the column, or turn the order if it is sorted by that."""
        chosen = self._columns[event.column_index]
        column, descending = self._sorted[id(self._table)]
        self._sort_by(chosen, descending=not descending if chosen == column else True)

    def _look_at(self, vip: str | None) -> None:
        self._vip = vip
        self._cursors.pop(id(BACKENDS), None)
        self._words = ""
        self._reader.look_at(vip)
        self._turn_to(VIPS if vip is None else BACKENDS)

    def _turn_to(self, table: Table) -> None:
        self._table = table
        self._rows, self._columns = {}, []
        self._show()
        self.refresh_bindings()

    def action_leave(self) -> None:
        """End the filter if there is one, else go back to where this table was opened from."""
        if self._filter.has_class("open") or self._words:
            self._filter.value = ""
            self._end_filter("")
        elif self._table is DROPS:
            self._turn_to(self._under_drops)
        elif self._vip is not None:
            self._look_at(None)

    def action_drops(self) -> None:
        """Show where packets are dropped and why, or go back from there."""
        if self._table is DROPS:
            self._turn_to(self._under_drops)
        else:
            self._under_drops = self._table
            self._turn_to(DROPS)

    def action_filter(self) -> None:
        """Ask for words."""
        self._filter.add_class("open")
        self._filter.focus()

    def on_input_changed(self, event: Input.Changed) -> None:
        """Filter while it is typed."""
        self._words = event.value
        self._show()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Keep the filter."""
        self._end_filter(event.value)

    def _end_filter(self, words: str) -> None:
        self._words = words
        self._filter.remove_class("open")
        self._grid.focus()
        self._show()

    def action_sort(self) -> None:
        """Sort by the next column that is shown."""
        column = self._sorted[id(self._table)][0]
        shown = self._columns or [0]
        following = shown[(shown.index(column) + 1) % len(shown)] if column in shown else shown[0]
        self._sort_by(following, descending=self._table.columns[following].is_number)

    def action_turn(self) -> None:
        """Turn the order."""
        column, descending = self._sorted[id(self._table)]
        self._sort_by(column, descending=not descending)

    def _sort_by(self, column: int, *, descending: bool) -> None:
        self._sorted[id(self._table)] = column, descending
        self._columns = []
        self._show()

    def action_pause(self) -> None:
        """Read no more, or again."""
        self._paused = not self._paused
        self._reader.pause(paused=self._paused)
        self._show_state()

    def action_keys(self) -> None:
        """List the keys."""
        self.push_screen(Keys())

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:  # noqa: ARG002
        """Offer a change only to whom it is allowed, and where there are backends."""
        return action != "change" or (self._table is BACKENDS and not self._why_read_only)

    def action_change(self, deed: _Deed) -> None:
        """Ask the daemon what draining or undraining the backend under the cursor would do."""
        row, vip, reading = self._under_cursor(), self._vip, self._reading
        if row is None or vip is None or reading is None:
            return
        backend = next((each for each in reading.backends if each["address"] == row.key), None)
        if backend is not None:
            self._in_thread(lambda client: self._plan(client, deed, vip, backend))

    def on__planned(self, message: _Planned) -> None:
        """Show what the change would do, and ask."""
        address, plan = message.backend["address"], message.plan
        if not plan["would_change"]:
            self.notify(f"{message.deed} {address}: nothing would change", markup=False)
            return
        effect = [*plan["changes"], *(each["detail"] for each in plan.get("warnings", []))]
        if (impact := plan.get("impact")) is not None:
            effect += [f"{name}: {words}" for name, words in impact_fields(impact)]

        def decided(answer: bool | None) -> None:
            if answer:
                self._in_thread(lambda client: self._make(client, message.deed, message.vip, message.backend))

        self.push_screen(
            Confirm(f"{message.deed} {address} of {message.vip}?", "\n".join(map(printable, effect))), decided
        )

    def on__done(self, message: _Done) -> None:
        """Say what came of a change."""
        self.notify(printable(message.sentence), severity="error" if message.is_error else "information", markup=False)

    def _in_thread(self, work: Callable[[Client], _Planned | _Done]) -> None:
        """Do something with a client of its own, in a thread, and post what it returns."""

        def run() -> None:
            client = self._make_client()
            try:
                self._post(work(client))
            except XdplbError as error:
                self._post(_Done(f"{error.detail}{f' ({error.hint})' if error.hint else ''}", is_error=True))
            finally:
                client.close()

        threading.Thread(target=run, name="top-change", daemon=True).start()

    def _plan(self, client: Client, deed: _Deed, vip: str, backend: BackendOut) -> _Planned:
        change = client.backends.drain if deed == "drain" else client.backends.undrain
        plan = change(vip, backend["address"], dry_run=True, if_generation=backend["generation"]).dry_run()
        return _Planned(deed, vip, backend, plan)

    def _make(self, client: Client, deed: _Deed, vip: str, backend: BackendOut) -> _Done:
        """Make the change, unless the backend has changed since its effect was shown."""
        change = client.backends.drain if deed == "drain" else client.backends.undrain
        change(vip, backend["address"], if_generation=backend["generation"])
        self._reader.read_now()
        return _Done(f"{backend['address']} {'is draining' if deed == 'drain' else 'gets new connections again'}")


def _drawn(row: Row, i: int, column: Column, rest: int) -> Text:
    """Return a cell with its colour and in its width."""
    style = _COLOURS.get(row.state, "") if i == 1 else ""
    return Text(cut(row.cells[i].text, column.width or rest), style, justify="right" if column.is_number else "left")
