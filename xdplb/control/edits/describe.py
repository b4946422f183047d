"""What an edit changes, as sentences for `--dry-run`, which read right behind "would change: "."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields

from xdplb.control.state.snapshot import BoundBackend, BoundVip, Snapshot

__all__ = ["describe_edit"]


def describe_edit(before: Snapshot, after: Snapshot) -> tuple[str, ...]:
    """Return a sentence for everything that is asked for differently in `after`."""
    return tuple(_sentences(before, after))


def _sentences(before: Snapshot, after: Snapshot) -> Iterator[str]:
    for key in before.vips.keys() - after.vips.keys():
        yield f"VIP {key} is removed, and with it its {len(before.vips[key].backends)} backends"
    for key, new in after.vips.items():
        old = before.vips.get(key)
        if old is None:
            yield f"VIP {key} is added"
        elif old is not new:
            yield from _vip_sentences(old, new)


def _vip_sentences(old: BoundVip, new: BoundVip) -> Iterator[str]:
    key = new.vip.key
    if old.vip != new.vip:
        yield f"VIP {key} gets {_new_values(old.vip, new.vip)}"
    if old.vip.hash != new.vip.hash:
        yield f"open connections of VIP {key} that are not recorded go to other backends, since the hash changes"
    if not old.vip.scheduler.is_per_connection and new.vip.scheduler.is_per_connection:
        yield f"open connections of VIP {key} that are not recorded go to other backends, since the scheduler changes"
    if old.access is not new.access:
        yield _access_sentence(new)
    if old.check != new.check:
        yield _check_sentence(old, new)
    for address in old.backends.keys() - new.backends.keys():
        yield f"backend {address} of {key} is removed, and its open connections end"
    for address, backend in new.backends.items():
        present = old.backends.get(address)
        if present is None:
            yield f"backend {address} of {key} is added with weight {backend.backend.weight}"
        elif present != backend:
            yield _backend_sentence(present, backend, str(key))


def _access_sentence(new: BoundVip) -> str:
    allowed, denied = len(new.access.allow), len(new.access.deny)
    if not new.access:
        return f"VIP {new.vip.key} takes packets of everybody"
    rest = "everybody else is denied" if allowed else "everybody else is allowed"
    return f"VIP {new.vip.key} allows {allowed} prefixes and denies {denied}; {rest}"


def _check_sentence(old: BoundVip, new: BoundVip) -> str:
    key = new.vip.key
    if new.check is None:
        return f"the backends of {key} are checked no more"
    if old.check is None:
        return f"the backends of {key} are checked by {new.check.type} every {new.check.interval_seconds:g} s"
    return f"the health check of {key} gets {_new_values(old.check, new.check)}"


def _backend_sentence(old: BoundBackend, new: BoundBackend, key: str) -> str:
    backend = f"backend {new.backend.address} of {key}"
    if old.backend != new.backend:
        return f"{backend} gets {_new_values(old.backend, new.backend)}"
    return f"the drain of {backend} gets other times"


def _new_values(old: object, new: object) -> str:
    """Name the fields in which two values of one dataclass differ, with what they become and were."""
    names = [field.name for field in fields(old)]  # type: ignore[arg-type]
    pairs = ((name, getattr(old, name), getattr(new, name)) for name in names)
    return ", ".join(f"{name} {_show(after)} (was {_show(before)})" for name, before, after in pairs if before != after)


def _show(value: object) -> str:
    if isinstance(value, tuple):
        return " ".join(map(str, value)) or "none"
    return "none" if value is None else str(value)
