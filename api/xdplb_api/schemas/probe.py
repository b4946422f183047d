# SPDX-License-Identifier: Apache-2.0
"""What probes found that were asked for."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import Field

from xdplb.control.health.on_demand import Probed
from xdplb.control.health.probes.aim import Step
from xdplb.model.address import IPAddress
from xdplb.model.health import CheckType, Target, labels_of
from xdplb.model.key import VipKey

from .base import ResponseBody

__all__ = ["ProbeOut", "ProbeStepOut", "ProbedBackendOut", "ProbesOut"]


class ProbeStepOut(ResponseBody):
    """A step of a probe that was done."""

    name: str = Field(description="`connect`, `tls`, `sent`, `first byte` or `answer`.", examples=["connect"])
    seconds: float = Field(description="When it was done: seconds from the beginning of the probe.")
    text: str = Field(description="What came of it.", examples=["to 10.0.0.11 port 80"])

    @classmethod
    def of(cls, step: Step) -> ProbeStepOut:
        """Return the body for a step."""
        return cls(name=step.name, seconds=round(step.seconds, 6), text=step.text)


class ProbeOut(ResponseBody):
    """What a probe of one check found."""

    check: str = Field(description="What the check is called: its name, or its type with its port.", examples=["http"])
    type: CheckType = Field(description="Its type.")
    target: Target = Field(description="Whether the probe went to the backend's address or to the VIP's.")
    port: int = Field(description="The port it went to; 0 if the check has none.")
    passed: bool | None = Field(description="Whether it passed; null if this host could not run it.")
    reason: str = Field(description="Why, as a sentence.", examples=["status 503, expected 200"])
    seconds: float = Field(description="How many seconds it took until that was known.")
    steps: list[ProbeStepOut] = Field(description="The steps that were done, in their order.")

    @classmethod
    def of(cls, probed: Probed, label: str) -> ProbeOut:
        """Return the body for what was found."""
        check, result = probed.target.check, probed.result
        return cls(
            check=label,
            type=check.type,
            target=Target.BACKEND if probed.target.way is None else Target.VIP,
            port=probed.target.port if check.type is not CheckType.ICMP else 0,
            passed=result.passed,
            reason=result.reason,
            seconds=round(result.seconds, 6),
            steps=[ProbeStepOut.of(step) for step in probed.steps],
        )


class ProbedBackendOut(ResponseBody):
    """What the probes of one backend found."""

    backend: str = Field(description="The backend's address.", examples=["10.0.0.11"])
    passed: bool = Field(description="Whether all its checks passed.")
    checks: list[ProbeOut] = Field(description="What each check found; none if the backend is not checked.")


class ProbesOut(ResponseBody):
    """What probes found that were run once: this changes no backend's health."""

    vip: str = Field(description="The VIP's key.", examples=["203.0.113.10:443/tcp"])
    passed: bool = Field(description="Whether all checks of all these backends passed.")
    backends: list[ProbedBackendOut] = Field(description="What was found of each backend, sorted by address.")

    @classmethod
    def of(cls, key: VipKey, found: Sequence[tuple[IPAddress, Sequence[Probed]]]) -> ProbesOut:
        """Return the body for what was found."""
        backends = []
        for address, probes in found:
            labels = labels_of(tuple(probed.target.check for probed in probes))
            checks = [ProbeOut.of(probed, label) for probed, label in zip(probes, labels, strict=True)]
            passed = all(each.passed for each in checks)
            backends.append(ProbedBackendOut(backend=str(address), passed=passed, checks=checks))
        return cls(vip=str(key), passed=all(each.passed for each in backends), backends=backends)
