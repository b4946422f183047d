# SPDX-License-Identifier: Apache-2.0
"""Whether a state and what is in the store go together, and what is said if they do not. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from xdplb.cluster.repository import Json, Whole
from xdplb.control.edits.overlay import release_config
from xdplb.control.state.desired import Desired
from xdplb.control.state.snapshot import Snapshot
from xdplb.control.state.written import SCHEMA, all_written
from xdplb.model.errors import ConflictError, StoreRefusedError
from xdplb.model.printable import printable

__all__ = ["foreign", "has_state", "head_of", "headless", "why_newer"]


_NO_GENERATION = 1 << 62
"""No cluster comes as far; what is on disk has numbers of up to 63 bits."""


def head_of(whole: Whole) -> Json | None:
    """Return the head, None if there is none; StoreRefusedError if it is none that xdplb has written."""
    head = whole.head
    if head is None:
        return None
    kinds = {"instance": str, "generation": int, "schema": int, "digest": str}
    wrong = [name for name, kind in kinds.items() if type(head.get(name)) is not kind]
    wrong += [name for name in ("instance", "digest") if not wrong and not head[name].isascii()]
    if not wrong and not 0 < head["generation"] < _NO_GENERATION:
        wrong = ["generation"]
    if wrong:
        raise StoreRefusedError(
            f"the head in the store is none that xdplb has written: its {wrong[0]} is missing or wrong",
            hint="look at it with etcdctl get; remove it, and the balancers write theirs again",
        )
    return head


def has_state(desired: Desired, head: Json) -> bool:
    """Return whether a state that was never in the store is equal to the one there."""
    return bool(str(all_written(release_config(desired)).digest) == head["digest"])


def why_newer(head: Json) -> str:
    """Return the sentence for a store that a newer version has written."""
    return f"a newer xdplb has written the store (schema {head['schema']}, this one knows {SCHEMA}): upgrade this one"


def headless(strays: Sequence[str]) -> str:
    """Return the sentence for a store that has entries, at these paths, and no head, while nothing is here."""
    return (
        f"the store has {len(strays)} entries, such as {printable(strays[0])[:80]}, and no head, and this balancer has"
        " no VIPs: start one that has its state, and it writes it back, or remove what is under the prefix"
    )


def foreign(snapshot: Snapshot, head: Json) -> ConflictError:
    """Return the error for a state that was never in the store, which has another one."""
    return ConflictError(
        f"the state here has {len(snapshot.vips)} VIPs and was never in the store, or was changed without it; the store"
        f" has another state (generation {head['generation']}, written by {head.get('writer', 'an unknown balancer')})",
        hint="to join the others, move the state dir away (xdplb backup saves it first); to begin a store with what is"
        " here, give a prefix that nothing is under",
    )
