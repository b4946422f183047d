# SPDX-License-Identifier: Apache-2.0
"""What operators may change while a config file owns the state: weights and admin states, as an overlay on the file.

A backend under an overlay is what the operator asked for, and knows what the file says. An overlay ends when both are
the same again. All else is refused.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import datetime

from xdplb.control.edits.assemble import asked_backend
from xdplb.control.edits.edit import ClearOverlay
from xdplb.control.edits.find import no_backend, vip_of
from xdplb.control.state.desired import Declared, Desired, DesiredBackend, DesiredVip
from xdplb.control.state.differing import differing
from xdplb.model.address import IPAddress
from xdplb.model.backend import AdminState, Backend
from xdplb.model.errors import OwnedError
from xdplb.model.vip import VipKey

__all__ = ["clear_overlay", "overlaid", "owned", "release_config"]


def overlaid(before: Desired, after: Desired) -> Desired:
    """Return `after` with what differs laid over what the config file declares; OwnedError if more differs than that.

    The cost is that of the change.
    """
    difference = differing(before.vips, after.vips)
    for key in difference.new:
        raise owned(before, f"add VIP {key}")
    for key in difference.gone:
        raise owned(before, f"remove VIP {key}")
    changed = {key: _laid_over(before, before.vips[key], after.vips[key]) for key in difference.changed}
    return _with_vips(before, {key: vip for key, vip in changed.items() if vip is not before.vips[key]})


def owned(desired: Desired, what: str) -> OwnedError:
    """Return the error that a config file owns the state, so the API must not do `what`, such as `add VIP …`."""
    return OwnedError(
        f"the config file {desired.owner} owns the VIPs and backends, and this would {what}",
        hint=f"change {desired.owner}, then have it read again: systemctl reload xdplb. Only drain, undrain, weight and"
        " maint are possible by the API",
    )


def release_config(desired: Desired) -> Desired:
    """Give the state to the API: what is laid over the file becomes part of it."""
    if not desired.owner:
        return desired
    kept = {
        vip.vip.key: _with_all(vip, {address: replace(backend, declared=None) for address, backend in _laid(vip)})
        for vip in _vips_laid_over(desired)
    }
    return replace(_with_vips(desired, kept), owner="")


def clear_overlay(desired: Desired, edit: ClearOverlay, now: datetime) -> Desired:
    """Make what the overlay covers as the config file says; NotFoundError if there is no such VIP or backend."""
    vips: Iterator[DesiredVip]
    if edit.key is None:
        vips = _vips_laid_over(desired)
    else:
        vip = vip_of(desired, edit.key)
        if edit.address is not None and edit.address not in vip.backends:
            raise no_backend(edit.key, edit.address)
        vips = iter([vip])
    cleared = {}
    for vip in vips:
        chosen = {
            address: asked_backend(replace(backend, declared=None), backend.as_declared, now)
            for address, backend in _laid(vip)
            if edit.address in {None, address}
        }
        if chosen:
            cleared[vip.vip.key] = _with_all(vip, chosen)
    return _with_vips(desired, cleared)


def _vips_laid_over(desired: Desired) -> Iterator[DesiredVip]:
    return (vip for vip in desired.vips.values() if next(_laid(vip), None) is not None)


def _laid(vip: DesiredVip) -> Iterator[tuple[IPAddress, DesiredBackend]]:
    return ((address, backend) for address, backend in vip.backends.items() if backend.declared is not None)


def _with_all(vip: DesiredVip, backends: Mapping[IPAddress, DesiredBackend]) -> DesiredVip:
    return replace(vip, backends={**vip.backends, **backends})


def _with_vips(desired: Desired, vips: Mapping[VipKey, DesiredVip]) -> Desired:
    """Return the state with these in place of those that it has; their names and addresses are the same."""
    return desired.with_vips({**desired.vips, **vips}, desired.places) if vips else desired


def _laid_over(before: Desired, old: DesiredVip, new: DesiredVip) -> DesiredVip:
    key = old.vip.key
    if (old.vip, old.checks, old.access) != (new.vip, new.checks, new.access):
        raise owned(before, f"change the settings, the checks or the access list of VIP {key}")
    difference = differing(old.backends, new.backends)
    for address in difference.new:
        raise owned(before, f"add backend {address} to VIP {key}")
    for address in difference.gone:
        raise owned(before, f"remove backend {address} of VIP {key}")
    laid = {}
    for address in difference.changed:
        was, wanted = old.backends[address], new.backends[address]
        if _structure(was.backend) != _structure(wanted.backend):
            raise owned(before, f"change backend {address} of VIP {key} in more than weight and admin_state")
        told = was.declared or Declared.of(was.backend)
        made = replace(wanted, declared=None if told == Declared.of(wanted.backend) else told)
        if made != was:
            laid[address] = made
    return _with_all(old, laid) if laid else old


def _structure(backend: Backend) -> Backend:
    return replace(backend, weight=1, admin_state=AdminState.READY)
