"""What an edit changes, as sentences for `--dry-run`."""

from __future__ import annotations

from collections.abc import Iterator

from xdplb.control.edits.vips import differences
from xdplb.control.records import BackendRecord, State, VipRecord

__all__ = ["describe_edit"]


def describe_edit(before: State, after: State) -> tuple[str, ...]:
    """Return a sentence for everything that is asked for differently in `after`."""
    return tuple(_sentences(before, after))


def _sentences(before: State, after: State) -> Iterator[str]:
    for key in before.vips.keys() - after.vips.keys():
        yield f"remove VIP {key} and its {len(before.vips[key].backends)} backends"
    for key, new in after.vips.items():
        old = before.vips.get(key)
        if old is None:
            yield f"add VIP {key}"
        elif old is not new:
            yield from _vip_sentences(old, new)


def _vip_sentences(old: VipRecord, new: VipRecord) -> Iterator[str]:
    key = new.vip.key
    if old.vip != new.vip:
        yield f"change VIP {key}: {differences(old.vip, new.vip)}"
    if old.vip.hash != new.vip.hash:
        yield f"open connections of VIP {key} that are not recorded go to other backends, since the hash changes"
    if old.check != new.check:
        yield _check_sentence(old, new)
    for address in old.backends.keys() - new.backends.keys():
        yield f"remove backend {address} from VIP {key}; its open connections end"
    for address, backend in new.backends.items():
        present = old.backends.get(address)
        if present is None:
            yield f"add backend {address} with weight {backend.backend.weight} to VIP {key}"
        elif present != backend:
            yield _backend_sentence(present, backend, str(key))


def _check_sentence(old: VipRecord, new: VipRecord) -> str:
    key = new.vip.key
    if new.check is None:
        return f"check the backends of VIP {key} no more"
    if old.check is None:
        return f"check the backends of VIP {key} by {new.check.type} every {new.check.interval_seconds:g} s"
    return f"change the health check of VIP {key}: {differences(old.check, new.check)}"


def _backend_sentence(old: BackendRecord, new: BackendRecord, key: str) -> str:
    if old.backend != new.backend:
        return f"change backend {new.backend.address} of VIP {key}: {differences(old.backend, new.backend)}"
    return f"change the times of the drain of backend {new.backend.address} of VIP {key}"
