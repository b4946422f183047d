# SPDX-License-Identifier: Apache-2.0
"""What a daemon announces, noted in /run: whoever withdraws it after the daemon has gone need not be told again.

The note is there from the first route on, and until the next boot, as the routes are. It is of one network namespace.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from xdplb.control.writing.announce_watch import UsedTable
from xdplb.control.writing.track_files import write_track_file
from xdplb.model.announcing import Announcing, OnDaemonLoss
from xdplb.model.errors import ConflictError, PlatformError
from xdplb.net.route_table import RouteTable, withdraw_all

from .holder import RUN_DIR, find_holder, read_note, remove_note, write_note
from .options import DaemonOptions
from .privileges import require_privileges

__all__ = ["foresee_withdrawal", "used_table", "withdraw", "withdraw_of_lost"]

NEVER_MASTER = -254
"""With this in its file (times weight 1), keepalived stops an instance: less than -253 (keepalived.conf(5))."""

_KIND = "announced"
_SHOWN = 3


@dataclass(frozen=True, slots=True)
class _Note:
    """What a daemon announces in its network namespace. `tables` may have routes of it, each with their protocol."""

    namespace: int
    tables: tuple[tuple[int, int], ...]
    withdraws: bool
    track_files: tuple[str, ...]
    track_weight: int

    @classmethod
    def of(cls, announcing: Announcing, tables: tuple[tuple[int, int], ...]) -> _Note:
        """Return the note of a daemon of this process."""
        return cls(
            namespace=_namespace(),
            tables=tables,
            withdraws=announcing.on_daemon_loss is OnDaemonLoss.WITHDRAW,
            track_files=tuple(str(file.path.absolute()) for file in announcing.track_files),
            track_weight=announcing.track_weight,
        )


def used_table(options: DaemonOptions, table: Callable[[int, int], RouteTable], run_dir: Path) -> UsedTable:
    """Return the table that a daemon with these options announces in, with what an earlier one left."""
    asked, pin_dir = options.announcing, options.pin_dir
    before = _read(pin_dir, run_dir)
    left = before.tables if before is not None and before.namespace == _namespace() else ()
    own = (asked.table, asked.protocol)
    earlier = tuple(each for each in left if each != own)

    def note(*tables: tuple[int, int]) -> None:
        if tables or asked.track_files:
            _write(pin_dir, _Note.of(asked, tables), run_dir)
        else:
            remove_note(pin_dir, _KIND, run_dir)

    note(*left)
    return UsedTable(
        table(*own),
        is_used=bool(left),
        earlier=tuple(table(*each) for each in earlier),
        begin=lambda: note(own, *earlier),
        settled=lambda: note(own),
    )


def withdraw(pin_dir: Path, run_dir: Path = RUN_DIR, *, detaches: bool = False) -> list[str]:
    """Withdraw what the daemon of this pin dir announced, which must have ended; return what was done, a phrase each.

    `detaches`: nothing will be balanced here any more, so this host must not be the master even if there is no other.
    Raises PlatformError if the kernel refuses that, or if the routes are in another network namespace.
    """
    note = _read(pin_dir, run_dir)
    if note is None:
        return []
    if note.tables and note.namespace != _namespace():
        raise PlatformError(
            "the routes that announce VIPs are in another network namespace than this command",
            hint="run it in that of the daemon: ip netns exec, or nsenter --net",
        )
    done = []
    for table, protocol in note.tables:
        if networks := withdraw_all(table, protocol):
            more = f" and {len(networks) - _SHOWN} more" if len(networks) > _SHOWN else ""
            done.append(f"the routes in table {table} that announce {', '.join(map(str, networks[:_SHOWN]))}{more}")
    value = NEVER_MASTER if detaches else note.track_weight
    for file in note.track_files:
        with suppress(OSError):  # its folder is gone, and so is who read it
            write_track_file(Path(file), value)
            done.append(f"the right to be keepalived's master: {file} says {value}")
    remove_note(pin_dir, _KIND, run_dir)
    return done


def foresee_withdrawal(pin_dir: Path, run_dir: Path = RUN_DIR) -> list[str]:
    """Return what `withdraw` would do before detaching, a sentence each."""
    note = _read(pin_dir, run_dir)
    if note is None:
        return []
    sentences = [f"the routes in table {table} that announce VIPs are removed" for table, _ in note.tables]
    return sentences + [f"{file} says {NEVER_MASTER}" for file in note.track_files]


def withdraw_of_lost(pin_dir: Path, *, force: bool) -> tuple[Sequence[str], str]:
    """Withdraw what a daemon that has ended announced, if it was started so, or with `force`.

    Return what was done, a phrase each, and why nothing was, empty if something could be. ConflictError if the daemon
    runs: it would announce again at once.
    """
    require_privileges("withdrawing routes")
    if (holder := find_holder(pin_dir)) is not None:
        raise ConflictError(
            f"the daemon runs ({holder}), and would announce again",
            hint="take the node out of service with xdplb node drain",
        )
    note = _read(pin_dir, RUN_DIR)
    if note is None:
        return [], "no daemon of this pin dir has announced anything"
    if not note.withdraws and not force:
        return [], "what was announced stays: xdplb up had no --on-daemon-loss withdraw (--force withdraws it)"
    return withdraw(pin_dir), ""


def _read(pin_dir: Path, run_dir: Path) -> _Note | None:
    text = read_note(pin_dir, _KIND, run_dir)
    if text is None:
        return None
    try:
        fields = json.loads(text)
        tables = tuple((int(table), int(protocol)) for table, protocol in fields["tables"])
        return _Note(**{**fields, "tables": tables, "track_files": tuple(fields["track_files"])})
    except (ValueError, KeyError, TypeError):  # of another version: there is nothing to rely on
        return None


def _write(pin_dir: Path, note: _Note, run_dir: Path) -> None:
    try:
        write_note(pin_dir, _KIND, json.dumps(asdict(note)), run_dir)
    except OSError as error:
        raise PlatformError(f"it cannot be noted in {run_dir} what is announced: {error.strerror}") from error


def _namespace() -> int:
    return Path("/proc/thread-self/ns/net").stat().st_ino
