# SPDX-License-Identifier: Apache-2.0
"""The drain of this node, which is kept beside the desired state: it is of this host, and no change of that."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from xdplb.model.node import NodeState

__all__ = ["NODE_DRAIN", "NodeDrain", "read_node_drain", "state_of", "write_node_drain"]

NODE_DRAIN = """CREATE TABLE node_drain (
        one INTEGER PRIMARY KEY CHECK (one = 1), started REAL NOT NULL, timeout_seconds REAL NOT NULL,
        quiet_seconds REAL NOT NULL, ended REAL, timed_out INTEGER NOT NULL) STRICT"""


@dataclass(frozen=True, slots=True)
class NodeDrain:
    """A drain of this node. It ends after `quiet_seconds` without a packet for any VIP, or when it times out.

    `started` and `ended` are times of `xdplb.control.clock`. Once it has `ended`, the node stays drained;
    `timed_out` says that packets still came then.
    """

    started: datetime
    timeout_seconds: float
    quiet_seconds: float
    ended: datetime | None = None
    timed_out: bool = False

    @property
    def deadline(self) -> datetime:
        """When it times out."""
        return self.started + timedelta(seconds=self.timeout_seconds)


def state_of(drain: NodeDrain | None) -> NodeState:
    """Return what a node does that has this drain."""
    if drain is None:
        return NodeState.SERVING
    return NodeState.DRAINING if drain.ended is None else NodeState.DRAINED


def read_node_drain(connection: sqlite3.Connection) -> NodeDrain | None:
    """Return the drain, None if there is none."""
    row = connection.execute(
        "SELECT started, timeout_seconds, quiet_seconds, ended, timed_out FROM node_drain"
    ).fetchone()
    if row is None:
        return None
    started, timeout_seconds, quiet_seconds, ended, timed_out = row
    return NodeDrain(
        datetime.fromtimestamp(started, UTC),
        timeout_seconds,
        quiet_seconds,
        None if ended is None else datetime.fromtimestamp(ended, UTC),
        bool(timed_out),
    )


def write_node_drain(connection: sqlite3.Connection, drain: NodeDrain | None) -> None:
    """Replace the drain."""
    connection.execute("DELETE FROM node_drain")
    if drain is not None:
        connection.execute(
            "INSERT INTO node_drain VALUES (1, ?, ?, ?, ?, ?)",
            (
                drain.started.timestamp(),
                drain.timeout_seconds,
                drain.quiet_seconds,
                None if drain.ended is None else drain.ended.timestamp(),
                int(drain.timed_out),
            ),
        )
