# SPDX-License-Identifier: Apache-2.0
"""exec checks: a command of this host, by the contract of keepalived's MISC_CHECK.

Exit code 0 is a pass, 1 a failure, 2 to 255 a pass that sets the weight: it is the code less 2. (keepalived.conf(5),
`misc_dynamic`.)
"""

from __future__ import annotations

import signal

from xdplb.control.health.commands import Command, CommandEnd, Commands
from xdplb.control.health.probes.aim import Aim
from xdplb.control.health.probes.probe import Keeper, Probe
from xdplb.control.health.probes.result import NOT_RUN, AgentWord, Finding, OnResult, ProbeResult
from xdplb.control.plan.sources import Source
from xdplb.model.printable import quoted

__all__ = ["CommandProbe"]

_LONGEST_OUTPUT = 200
_FIRST_WEIGHT = 2
_NO_COMMANDS = "the daemon runs no commands: start it with xdplb up --exec-checks"


class CommandProbe(Probe):
    """One run of a command. Where a probe's packets leave from is the command's own affair."""

    __slots__ = ("_commands", "_number")

    def __init__(self, aim: Aim, keeper: Keeper, on_result: OnResult) -> None:
        super().__init__(aim, keeper, on_result)
        self._commands: Commands | None = keeper.commands
        self._number = 0

    def begin(self, source: Source) -> ProbeResult | None:  # noqa: ARG002 - it has no socket
        """Have the command run."""
        if self._commands is None:
            return ProbeResult(None, f"{NOT_RUN}: {_NO_COMMANDS}", 0.0)
        self._set_alarm(self._began + self.aim.check.timeout_seconds)
        self._number = self._commands.run(self._command(), self._ended)
        return None

    def cut(self) -> None:
        """Kill the command, if it still runs."""
        self._set_alarm(None)
        if self._number and self._commands is not None:
            self._commands.cut(self._number)
            self._number = 0

    def _command(self) -> Command:
        host, port, check = self.aim.host, str(self.aim.port), self.aim.check
        assert check.command is not None
        assert check.user is not None
        words = tuple(word.replace("{address}", host).replace("{port}", port) for word in check.command)
        environment = {"XDPLB_ADDRESS": host, "XDPLB_PORT": port}
        return Command(words, check.user, environment, check.timeout_seconds)

    @property
    def _is_connected(self) -> bool:
        return True  # whether packets reach the backend, an exit code does not tell

    def _silent(self, seconds: float) -> Finding:
        assert self._commands is not None
        if self._commands.has_begun(self._number):
            return Finding(passed=False, reason=f"the command did not end in {seconds:g} s, and was killed")
        return Finding(None, f"{NOT_RUN}: as many commands run already as may at a time")

    def _ended(self, end: CommandEnd) -> None:
        self._number = 0
        if end.error:
            self._found(Finding(None, f"{NOT_RUN}: {end.error}"))
            return
        output = next((line.strip() for line in end.output.splitlines() if line.strip()), "")
        words = f": {quoted(output, _LONGEST_OUTPUT)}" if output else ""
        if end.status < 0:
            self._found(Finding(passed=False, reason=f"killed by {_name(-end.status)}{words}"))
        elif end.status >= _FIRST_WEIGHT:
            weight = end.status - _FIRST_WEIGHT
            reason = f"exit code {end.status}, which is weight {weight}{words}"
            self._found(Finding(passed=True, reason=reason, said=AgentWord(weight=weight)))
        else:
            self._found(Finding(passed=end.status == 0, reason=f"exit code {end.status}{words}"))


def _name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
