# SPDX-License-Identifier: Apache-2.0
"""Set-up installs daemons for the labs: none of them may start in the host's own network."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

APT = """#!/bin/bash
# Plays apt-get: writes down what a package's scripts would be told about starting a service. No `touch`: bash takes no
# notice of a SIGINT that comes while it waits for a child that then ends as usual.
[[ $1 == install ]] || exit 0
{policy} && echo "would start" >>{seen} || echo "$? from the policy" >>{seen}
: >{folder}/installing
{then}
"""


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    """Where the file would be that keeps services from starting."""
    return tmp_path / "policy-rc.d"


def _install(tmp_path: Path, policy: Path, then: str, *, wait: bool = True) -> subprocess.Popen[str]:
    apt = tmp_path / "bin/apt-get"
    apt.parent.mkdir(exist_ok=True)
    apt.write_text(APT.format(policy=policy, seen=tmp_path / "seen", folder=tmp_path, then=then))
    apt.chmod(0o755)
    script = f"source {ROOT}/scripts/lib/setup.sh; SETUP_POLICY={policy}; setup_apt some-daemon"
    environment = os.environ | {"PATH": f"{apt.parent}:{os.environ['PATH']}"}
    process = subprocess.Popen(
        ["env", "--default-signal=INT", "bash", "-c", script],  # it is ignored where the tests run in the background
        env=environment,
        text=True,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    if wait:
        process.wait(30)
    return process


@pytest.mark.parametrize(("then", "code"), [("exit 0", 0), ("exit 1", 1)])
def test_nothing_starts_while_packages_are_installed_and_the_host_is_as_before(
    tmp_path: Path, policy: Path, then: str, code: int
) -> None:
    with _install(tmp_path, policy, then) as process:
        assert process.returncode == code
    assert (tmp_path / "seen").read_text() == "101 from the policy\n"
    assert not policy.exists()


def test_a_policy_that_the_host_has_stays(tmp_path: Path, policy: Path) -> None:
    policy.write_text("#!/bin/sh\nexit 104\n")
    policy.chmod(0o755)
    with _install(tmp_path, policy, "exit 0") as process:
        assert process.returncode == 0
    assert (tmp_path / "seen").read_text() == "104 from the policy\n"
    assert policy.read_text() == "#!/bin/sh\nexit 104\n"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_goes_when_set_up_is_stopped(tmp_path: Path, policy: Path, number: signal.Signals) -> None:
    with _install(tmp_path, policy, "exec sleep 30", wait=False) as process:
        _wait_for(tmp_path / "installing")
        os.killpg(process.pid, number)
        assert process.wait(10) != 0
    assert not policy.exists()


def test_one_that_a_killed_set_up_left_goes_with_the_next(tmp_path: Path, policy: Path) -> None:
    with _install(tmp_path, policy, "exec sleep 30", wait=False) as process:
        _wait_for(tmp_path / "installing")
        os.killpg(process.pid, signal.SIGKILL)
    assert policy.exists()
    with _install(tmp_path, policy, "exit 0"):
        assert not policy.exists()


def _wait_for(path: Path) -> None:
    end = time.monotonic() + 60
    while not path.exists():
        assert time.monotonic() < end
        time.sleep(0.01)
