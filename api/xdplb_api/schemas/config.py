# SPDX-License-Identifier: Apache-2.0
"""The whole desired state: the body of `PUT /v1/config`, the answer to its GET, and what a config file has."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from hashlib import blake2b
from itertools import islice
from types import MappingProxyType
from typing import Annotated, Any, NoReturn, Self

from pydantic import Field, PrivateAttr, ValidatorFunctionWrapHandler, WrapValidator

from xdplb.control.answers.views import ConfigView, OverlayView
from xdplb.control.edits.declared import faults_of
from xdplb.control.state.codec import backend_to_json, check_to_json, settings_to_json, vip_to_json
from xdplb.control.state.desired import NO_ACCESS_LIST, Desired, DesiredVip
from xdplb.control.writing.request import Outcome
from xdplb.model import config as model
from xdplb.model.access import AccessList
from xdplb.model.address import address_order
from xdplb.model.backend import AdminState
from xdplb.model.config import DeclaredVip
from xdplb.model.errors import ConflictError, FieldProblem, InvalidError, OwnedError, XdplbError, located
from xdplb.model.health import HealthCheck, fitted, fitted_checks
from xdplb.model.host import NO_HOST
from xdplb.model.prefixes import Prefixes
from xdplb.model.vip import Vip, VipKey

from .access import AccessIn
from .backend import MOST_BACKENDS, BackendIn, DeclaredOut
from .base import Generation, ReadOnly, RequestBody, ResponseBody, Warnings, warnings_of
from .effect import changes_of
from .health_check import ONE_CHECK, SEVERAL_CHECKS, Checks, HealthCheckIn, given_checks
from .long_list import in_parts
from .vip import VipIn

__all__ = [
    "AccessInFile",
    "ApiSettings",
    "Config",
    "ConfigChangedOut",
    "ConfigFile",
    "ConfigFileVip",
    "ConfigOut",
    "ConfigVip",
    "OverlayListOut",
    "OverlayOut",
    "Settings",
    "body_of",
    "examined",
    "overlay_of",
    "refuse",
    "shown",
]

MOST_VIPS = 8192
"""As many as the maps can be made for."""

_MOST_FAULTS = 100
"""How many errors of one body are told: it may have hundreds of thousands."""


_known: Mapping[bytes, DeclaredVip] = MappingProxyType({})
"""The VIPs of the configuration that was accepted last, by the digest of what was sent. Replaced as a whole."""


class ConfigVip(VipIn):
    """A VIP with all that belongs to it."""

    _digest: bytes = PrivateAttr(default=b"")
    _as_known: DeclaredVip | None = PrivateAttr(default=None)

    health_check: HealthCheckIn | None = Field(default=None, description=ONE_CHECK)
    checks: Checks | None = Field(default=None, description=SEVERAL_CHECKS)
    access: AccessIn = Field(
        default=AccessIn(), description="Which sources it accepts packets from; without prefixes, any."
    )
    backends: Annotated[list[BackendIn], Field(max_length=MOST_BACKENDS), in_parts(MOST_BACKENDS)] = Field(
        default=[], description="All its backends."
    )

    def declared(self, pointer: str, faults: list[XdplbError]) -> DeclaredVip | None:
        """Return the VIP of the model, None if it has no key. What is wrong with it is added to `faults`."""
        if self._as_known is not None:
            return replace(self._as_known, pointer=pointer)
        vip = self._vip(pointer, faults)
        if vip is None:
            return None
        checks = self._checks(vip.key, pointer, faults)
        backends = tuple([backend.backend() for backend in self.backends])
        return DeclaredVip(pointer, vip, checks, self._access_list(vip.key, pointer, faults), backends)

    def _vip(self, pointer: str, faults: list[XdplbError]) -> Vip | None:
        """Return the VIP's settings. Those that are wrong are left out one by one, so that each is told."""
        key = None
        with _told(pointer, faults):
            key = VipKey.of(self.address, self.port, self.protocol, self.last_port)
        settings = self.settings()
        while key is not None:
            try:
                return Vip(key=key, **settings)
            except InvalidError as error:
                wrong = error.problems[0].pointer.split("/")[1]
                faults.append(located(pointer, error))
                if wrong not in settings:
                    return None
                del settings[wrong]
        return None

    def _checks(self, key: VipKey, pointer: str, faults: list[XdplbError]) -> tuple[HealthCheck, ...]:
        """Return the checks. Those that are wrong are left out, so that each is told."""
        made: list[HealthCheck] = []
        with _told(pointer, faults):
            given = given_checks(self.health_check, self.checks)
            for at, each in given:
                with _told(f"{pointer}{at}", faults):
                    fitted(check := each.check(), key)
                    made.append(check)
            if len(made) == len(given):
                with _told(f"{pointer}/checks", faults):
                    fitted_checks(made, key)
        return tuple(made)

    def _access_list(self, key: VipKey, pointer: str, faults: list[XdplbError]) -> AccessList:
        if not self.access.allow and not self.access.deny:
            return NO_ACCESS_LIST
        version, given = key.address.version, {"allow": self.access.allow, "deny": self.access.deny}
        try:
            return AccessList.parse(self.access.allow, self.access.deny, version) or NO_ACCESS_LIST
        except InvalidError:
            faults += islice(_wrong_prefixes(f"{pointer}/access", given, version), _MOST_FAULTS)
        return NO_ACCESS_LIST


def _wrong_prefixes(pointer: str, lists: Mapping[str, Sequence[str]], version: int) -> Iterator[InvalidError]:
    for name, texts in lists.items():
        for number, text in enumerate(texts):
            try:
                Prefixes.parse([text], version, "")
            except InvalidError as error:
                yield InvalidError.field(f"{pointer}/{name}/{number}", error.detail, hint=error.hint)


def _unless_known(given: Any, check: ValidatorFunctionWrapHandler) -> Any:
    """Check a VIP, unless it is word for word one of the configuration that was accepted last: most of them are."""
    try:
        digest = blake2b(json.dumps(given).encode(), digest_size=16).digest()
    except (TypeError, ValueError, RecursionError):  # a date of TOML, for one
        return check(given)
    if (known := _known.get(digest)) is not None:
        vip = ConfigVip.model_construct()
        vip._as_known = known
    else:
        vip = check(given)
    vip._digest = digest
    return vip


_Vips = Annotated[list[Annotated[ConfigVip, WrapValidator(_unless_known)]], Field(max_length=MOST_VIPS)]


class ApiSettings(RequestBody):
    """What the API takes on at once, and how long it waits for a client. Null: as the options of `xdplb up` say."""

    connections: int | None = Field(
        default=None,
        ge=1,
        le=model.API_MOST["connections"],
        description="Connections at a time; more are answered with 503.",
        examples=[256],
    )
    requests: int | None = Field(
        default=None,
        ge=1,
        le=model.API_MOST["requests"],
        description="Requests worked on at a time; others wait.",
        examples=[16],
    )
    head_timeout_seconds: float | None = Field(
        default=None,
        gt=0,
        le=model.API_MOST["head_timeout_seconds"],
        description="Seconds for the request line and the headers, and for the longest pause in a body.",
        examples=[10.0],
    )
    body_timeout_seconds: float | None = Field(
        default=None,
        gt=0,
        le=model.API_MOST["body_timeout_seconds"],
        description="Seconds for a body.",
        examples=[60.0],
    )
    idle_timeout_seconds: float | None = Field(
        default=None,
        gt=0,
        le=model.API_MOST["idle_timeout_seconds"],
        description="Seconds that a connection is kept for the next request.",
        examples=[30.0],
    )
    max_body_mib: int | None = Field(
        default=None, ge=1, le=model.API_MOST["max_body_mib"], description="The largest body, in MiB.", examples=[48]
    )


class Settings(RequestBody):
    """Settings of the daemon that may change while it runs."""

    api: ApiSettings = Field(default=ApiSettings(), description="What the API takes on.")

    def wanted(self) -> model.Settings:
        """Return the settings of the model."""
        return model.Settings(model.ApiSettings(**self.api.model_dump()))


class Config(RequestBody):
    """The whole desired state: what is not in it is removed."""

    settings: Settings = Field(default=Settings(), description="Settings of the daemon that may change while it runs.")
    vips: Annotated[_Vips, in_parts(MOST_VIPS)] = Field(
        description="All VIPs; it must be given, even if there are none."
    )
    generation: ReadOnly = None
    owner: ReadOnly = None
    overlay: ReadOnly = None
    warnings: ReadOnly = None

    def wanted(self) -> model.Config:
        """Return the configuration of the model.

        Raises InvalidError with all that is wrong in its VIPs, each by itself. The rest is checked when it is applied.
        """
        faults: list[XdplbError] = []
        made = [vip.declared(f"/vips/{number}", faults) for number, vip in enumerate(self.vips)]
        refuse(faults)
        return model.Config(tuple(vip for vip in made if vip is not None), self.settings.wanted())

    def accepted(self, wanted: model.Config) -> None:
        """Note that this was accepted, as `wanted`: VIPs that are the same in the next one are not checked again."""
        global _known  # noqa: PLW0603 - one daemon has one configuration
        _known = {vip._digest: declared for vip, declared in zip(self.vips, wanted.vips, strict=True) if vip._digest}

    def refuse_with_all(self, error: XdplbError) -> NoReturn:
        """Raise all that is wrong with it, or else the error that it was refused with when it was applied."""
        if isinstance(error, InvalidError | ConflictError) and not isinstance(error, OwnedError):
            refuse(examined(enumerate(self.vips))[1])
        raise error


class AccessInFile(AccessIn):
    """An access list in a config file: in place, in files of its own, or both."""

    allow_file: str | None = Field(
        default=None,
        min_length=1,
        description="A file of allowed prefixes, one a line, beside the config file; # starts a comment.",
        examples=["office.txt"],
    )
    deny_file: str | None = Field(
        default=None,
        min_length=1,
        description="A file of denied prefixes, one a line, beside the config file; # starts a comment.",
        examples=["blocked.txt"],
    )


class ConfigFileVip(ConfigVip):
    """A VIP in a config file."""

    access: AccessInFile = Field(
        default=AccessInFile(), description="Which sources it accepts packets from; without prefixes, any."
    )


class ConfigFile(Config):
    """What a config file has: the whole desired state, as `PUT /v1/config` takes it, with access lists by file."""

    vips: Annotated[list[ConfigFileVip], Field(max_length=MOST_VIPS), in_parts(MOST_VIPS)] = Field(  # type: ignore[assignment]
        description="All VIPs; it must be given, even if there are none."
    )


class OverlayOut(ResponseBody):
    """A backend over which an operator has laid another weight or admin state than the config file says."""

    vip: str = Field(description="The VIP's key.", examples=["203.0.113.10:443/tcp"])
    address: str = Field(description="The backend's address.", examples=["10.0.0.11"])
    weight: int = Field(description="Its weight now.")
    admin_state: AdminState = Field(description="Its admin state now.")
    declared: DeclaredOut

    @classmethod
    def of(cls, view: OverlayView) -> OverlayOut:
        """Return the body for the manager's view."""
        return cls(
            vip=view.vip,
            address=str(view.backend.address),
            weight=view.backend.weight,
            admin_state=view.backend.admin_state,
            declared=DeclaredOut(weight=view.declared.weight, admin_state=view.declared.admin_state),
        )


Overlay = Annotated[
    list[OverlayOut],
    Field(description="Where operators have laid something else over what the config file says, by VIP and address."),
]


class OverlayListOut(ResponseBody):
    """All that is laid over the config file."""

    overlay: Overlay


class ConfigOut(ResponseBody):
    """The whole desired state. Its PUT changes nothing."""

    generation: Generation
    owner: str | None = Field(
        description="The config file that declares it, by its path; null: the API does.",
        examples=["/etc/xdplb/config.toml"],
    )
    settings: Settings = Field(description="Settings of the daemon that may change while it runs.")
    vips: list[ConfigVip] = Field(description="All VIPs, sorted by address, port and protocol, without the overlay.")
    overlay: Overlay


class ConfigChangedOut(ResponseBody):
    """What became of a configuration, or of several edits."""

    generation: int = Field(description="The number of the last change, after this one.")
    changed: bool = Field(description="False: all was as requested already.")
    changes: list[str] = Field(description="A sentence for each thing that has changed.")
    warnings: Warnings

    @classmethod
    def of(cls, outcome: Outcome) -> Self:
        """Return the body for the outcome of a change."""
        return cls(
            generation=outcome.generation,
            changed=outcome.is_change,
            changes=changes_of(outcome),
            warnings=warnings_of(outcome),
        )


def shown(view: ConfigView) -> dict[str, Any]:
    """Return the JSON of ConfigOut. Takes a tenth of a second for ten thousand backends."""
    return {
        "generation": view.generation,
        "owner": view.desired.owner or None,
        **body_of(view.desired),
        "overlay": overlay_of(view),
    }


def overlay_of(view: ConfigView) -> list[dict[str, Any]]:
    """Return the JSON of the overlay."""
    return [OverlayOut.of(each).model_dump(mode="json") for each in view.overlay]


def body_of(desired: Desired) -> dict[str, Any]:
    """Return the JSON of `Config` that declares this state, without overlays: applied to it, it changes nothing."""
    vips = [_vip_body(desired.vips[key]) for key in sorted(desired.vips)]
    return {"settings": settings_to_json(desired.settings), "vips": vips}


def _vip_body(desired: DesiredVip) -> dict[str, Any]:
    key, access = desired.vip.key, desired.access
    checks = [check_to_json(check) for check in desired.checks]
    ordered = sorted(desired.backends, key=address_order)
    return {
        "address": key.addresses_text,
        "port": key.port,
        "last_port": None if key.last_port == key.port else key.last_port,
        "protocol": key.protocol,
        **vip_to_json(desired.vip),
        "health_check": checks[0] if len(checks) == 1 else None,
        "checks": checks if len(checks) > 1 else None,
        "access": {"allow": access.allow.texts(), "deny": access.deny.texts()},
        "backends": [{"address": str(at), **backend_to_json(desired.backends[at].as_declared)} for at in ordered],
    }


def examined(vips: Iterable[tuple[int, ConfigVip]]) -> tuple[tuple[DeclaredVip, ...], list[XdplbError]]:
    """Return VIPs, given with their places in the body, as the model has them, and all that is wrong with them.

    What depends on the host is left to the change. The first problem of an error points into the body; if it has a
    second one, that is what it is in conflict with.
    """
    faults: list[XdplbError] = []
    made = [vip.declared(f"/vips/{number}", faults) for number, vip in vips]
    declared = tuple(vip for vip in made if vip is not None)
    faults += faults_of(declared, NO_HOST)
    return declared, faults


def refuse(faults: Sequence[XdplbError]) -> None:
    """Raise one error that tells all these, ConflictError if all are conflicts; nothing if there are none."""
    if not faults:
        return
    more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
    problems = [FieldProblem(fault.problems[0].pointer, fault.detail) for fault in faults[:_MOST_FAULTS]]
    kind = ConflictError if all(isinstance(fault, ConflictError) for fault in faults) else InvalidError
    raise kind(faults[0].detail + more, hint=faults[0].hint, problems=tuple(problems))


@contextmanager
def _told(pointer: str, faults: list[XdplbError]) -> Iterator[None]:
    """Add the error that the block raises to `faults`; its pointers are those within the object at `pointer`."""
    try:
        yield
    except XdplbError as error:
        faults.append(located(pointer, error))
