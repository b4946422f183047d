# SPDX-License-Identifier: Apache-2.0
"""`xdplb up`, `down`, `doctor` and `decap` on a NIC, in namespaces of the test's own."""

from __future__ import annotations

import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.bystander import NOBODY, flocking, open_a_way
from tests.private_host import add_nic, private_host
from xdplb.daemon.holder import LOCKS, RUN_DIR
from xdplb.dataplane.libbpf import Fd, link_create_xdp
from xdplb.dataplane.single import pass_program
from xdplb.net.links import link, names

from .cli_harness import Told, xdplb

START = "60s"
LOCK_DIR = RUN_DIR / LOCKS


class Host:
    """A host with the NICs eth0 and eth1."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.pins = folder / "bpf" / "xdplb"
        self.socket = folder / "api.sock"

    def up_command(self, *nics: str) -> list[str]:
        command = [str(Path(sys.executable).with_name("xdplb")), "up", *nics, "--pin-dir", str(self.pins)]
        return [*command, "--listen", f"unix:{self.socket}", "--state-dir", str(self.folder / "state")]

    @contextmanager
    def up(self, *nics: str) -> Iterator[subprocess.Popen[str]]:
        """Run `xdplb up` while in the block."""
        with subprocess.Popen(self.up_command(*nics), stderr=subprocess.PIPE, text=True) as daemon:
            try:
                waiting = self.run("status", "--wait", "--timeout", START)
                assert waiting.returncode == 0, waiting.stderr + str(daemon.poll())
                yield daemon
            finally:
                if daemon.poll() is None:
                    daemon.kill()

    def up_refused(self, *nics: str, options: Sequence[str] = ()) -> Told:
        return subprocess.run(
            [*self.up_command(*nics), *options], capture_output=True, text=True, check=False, timeout=60
        )

    def run(self, *arguments: str) -> Told:
        return xdplb("--socket", str(self.socket), *arguments)

    def down(self, *arguments: str) -> Told:
        return self.run("down", *arguments, "--pin-dir", str(self.pins))

    def is_clean(self) -> bool:
        return not self.pins.exists() and all(link(name).xdp is None for name in ("eth0", "eth1"))


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    (tmp_path / "bpf").mkdir()
    with private_host(tmp_path / "bpf"):
        for name in ("eth0", "eth1"):
            add_nic(name)
        yield Host(tmp_path)


@pytest.mark.root
def test_down_stops_a_running_daemon_and_leaves_nothing(host: Host):
    with host.up("eth0") as daemon:
        foretold = host.down("eth0", "--dry-run")
        assert f"would change: the daemon (pid {daemon.pid}) is stopped" in foretold.stdout
        assert "would change: xdplb is detached from eth0" in foretold.stdout
        assert daemon.poll() is None
        told = host.down("eth0")
        assert told.returncode == 0, told.stderr
        assert f"stopping the daemon (pid {daemon.pid})" in told.stderr
        assert "removed: the program on eth0" in told.stderr
        _, log = daemon.communicate(timeout=10)
        assert daemon.returncode == 0
        assert log.splitlines()[-1].endswith("stopped by xdplb down, which detaches the program from eth0")
        assert "keeps forwarding" not in log
    assert host.is_clean()
    again = host.down("eth0")
    assert (again.returncode, again.stderr) == (0, "nothing to remove: xdplb is not attached there\n")


@pytest.mark.root
def test_what_a_killed_daemon_left_is_taken_up_again_and_taken_down(host: Host):
    with host.up("eth0") as daemon:
        host.run("vip", "add", "203.0.113.10:80/tcp", "--name", "web")
        attached = link("eth0").xdp
        assert attached is not None
        daemon.send_signal(signal.SIGKILL)
        daemon.wait()
    assert link("eth0").xdp == attached
    with host.up("eth0") as daemon:
        assert link("eth0").xdp == attached
        assert host.run("vip", "show", "web").returncode == 0
        daemon.terminate()
        _, log = daemon.communicate(timeout=20)
        assert "the program stays on eth0" in log
    assert link("eth0").xdp == attached
    told = json.loads(host.down("--all", "-o", "json").stdout)
    assert told["stopped_pid"] is None
    assert "the program on eth0" in told["removed"]
    assert host.is_clean()


@pytest.mark.root
def test_one_nic_is_not_taken_from_a_daemon_that_serves_others(host: Host):
    with host.up("eth0", "eth1") as daemon:
        told = host.down("eth0")
        assert told.returncode == 4
        assert f"pid {daemon.pid}" in told.stderr
        assert "eth1" in told.stderr
        assert "nothing to remove" in host.down("lo").stderr
        assert daemon.poll() is None
        assert host.down("eth1", "eth0").returncode == 0
    assert host.is_clean()


@pytest.mark.root
def test_a_second_one_on_a_nic_is_refused_by_name_of_the_first(host: Host, tmp_path: Path):
    with host.up("eth0") as daemon:
        other = Host(tmp_path / "other")
        other.pins = tmp_path / "bpf" / "other"
        told = other.up_refused("eth1", "eth0")
        assert told.returncode == 4
        assert f"eth0 is held by another xdplb (pid {daemon.pid}" in told.stderr
        assert str(host.pins) in told.stderr
        assert not other.pins.exists()
        assert host.run("status").returncode == 0
        assert link("eth1").xdp is None
        host.down("--all")


@pytest.mark.root
def test_what_is_no_ethernet_interface_is_refused(host: Host):
    told = host.up_refused("eth0", "lo")
    assert told.returncode == 1
    assert told.stderr.startswith("xdplb: error: lo is not an Ethernet interface\n")
    assert host.is_clean()


@pytest.mark.root
def test_a_nic_named_twice_is_meant_once(host: Host):
    with host.up("eth0", "eth0"):
        assert [nic["interface"] for nic in json.loads(host.run("status", "-o", "json").stdout)["attachments"]] == [
            "eth0"
        ]
    host.down("--all")


@pytest.mark.root
def test_a_nic_that_is_not_there_is_one_sentence(host: Host):
    told = host.up_refused("nosuch0")
    assert told.returncode == 1
    assert told.stderr.startswith("xdplb: error: there is no NIC nosuch0")
    assert len(told.stderr.splitlines()) == 2
    assert "eth0" in told.stderr
    assert host.is_clean()
    assert not host.socket.exists()


@pytest.mark.root
def test_stopped_while_it_starts_it_says_so_and_leaves_nothing(host: Host):
    with subprocess.Popen(host.up_command("eth0"), stderr=subprocess.PIPE, text=True) as daemon:
        end = time.monotonic() + 30
        while not host.pins.exists():
            assert time.monotonic() < end
            time.sleep(0.01)
        daemon.terminate()
        _, log = daemon.communicate(timeout=20)
    assert "SIGTERM: stopping" in log
    assert "Traceback" not in log
    assert daemon.returncode == 0
    assert host.is_clean()


@pytest.mark.root
def test_of_several_nics_one_may_be_made_later(host: Host):
    with subprocess.Popen(host.up_command("eth0", "eth5"), stderr=subprocess.PIPE, text=True) as daemon:
        try:
            end = time.monotonic() + 60
            while host.run("status").returncode == 3:  # it is not running
                assert time.monotonic() < end
            waited = host.run("status", "--wait", "--timeout", "2s")
            assert waited.returncode == 5
            assert "there is no NIC eth5; xdplb attaches to eth5 as soon as it is there" in waited.stderr
            found = host.run("doctor", "--pin-dir", str(host.pins))
            assert found.returncode == 1
            assert "fail  eth5: there is no NIC eth5" in found.stdout
            add_nic("eth5")
            assert host.run("status", "--wait", "--timeout", "5s").returncode == 0
            assert link("eth5").xdp is not None
            assert "eth0 (native), eth5 (native)" in host.run("status").stdout
            host.down("--all")
        finally:
            daemon.kill()


@pytest.mark.root
def test_a_restart_that_names_fewer_nics_says_which_still_has_the_program(host: Host):
    with host.up("eth0", "eth1") as daemon:
        daemon.kill()
        daemon.wait()
    with host.up("eth0"):
        assert "eth0 (native), eth1 (native, not named in up)" in host.run("status").stdout
        assert "removed: the program on eth1" in host.down("eth1").stderr
        end = time.monotonic() + 5
        while "eth1" in host.run("status").stdout:
            assert time.monotonic() < end
        assert link("eth1").xdp is None
        host.down("--all")


@pytest.mark.root
def test_why_auto_took_skb_mode_is_told_by_log_status_and_doctor(host: Host):
    for end in ("eth0", "peer-eth0"):
        subprocess.run(["ip", "link", "set", end, "mtu", "9000"], check=True)
    refused = host.up_refused("eth0", "--mode", "native")
    assert (
        "eth0 cannot run XDP in its driver: the MTU of its other end is above what the driver takes" in refused.stderr
    )
    assert "hint: try --mode skb" in refused.stderr
    why = (
        "eth0 is in skb mode, which is several times slower: native mode was refused, since the MTU of its other end is"
    )
    with host.up("eth0") as daemon:
        status = host.run("status")
        assert status.returncode == 0
        assert f"note: {why} above what the driver takes with XDP (the kernel says: " in status.stderr
        assert "lower the MTU of the other end of eth0 (to 3498 or less)" in status.stderr
        assert f"warn  eth0 native XDP: {why}" in host.run("doctor", "-o", "wide", "--pin-dir", str(host.pins)).stdout
        daemon.terminate()
        _, log = daemon.communicate(timeout=10)
        assert f"mode=skb reason='{why}" in log
    with host.up("eth0"):
        assert "it was in skb mode already, and its MTU of 9000 is" in host.run("status").stderr
        host.down("--all")


@pytest.mark.root
def test_a_folder_on_no_bpffs_is_one_sentence(host: Host):
    host.pins = host.folder / "plain"
    told = host.up_refused("eth0")
    assert told.returncode == 1
    assert "is not in a BPF file system" in told.stderr
    assert len(told.stderr.splitlines()) == 2


@pytest.mark.root
def test_a_damaged_state_is_told_before_the_nic_is_touched(host: Host):
    (host.folder / "state").mkdir()
    (host.folder / "state" / "state.db").write_bytes(b"no database" * 1000)
    told = host.up_refused("eth0")
    assert told.returncode == 1
    assert "is damaged" in told.stderr
    assert len(told.stderr.splitlines()) == 2
    assert host.is_clean()


@pytest.mark.root
def test_a_program_of_somebody_else_stays_and_is_named(host: Host):
    with pass_program() as program, _attached(program, "eth0"):
        foreign = link("eth0").xdp
        assert foreign is not None
        told = host.up_refused("eth0")
        assert told.returncode == 4
        assert str(foreign.program_id) in told.stderr
        found = host.run("doctor", "eth0", "--pin-dir", str(host.pins), "-o", "json")
        assert found.returncode == 1
        failed = [each for each in json.loads(found.stdout)["findings"] if each["level"] == "fail"]
        assert [each["check"] for each in failed] == ["eth0 XDP program", "daemon"]
        assert f"id {foreign.program_id}" in failed[0]["detail"]
        assert link("eth0").xdp == foreign
    assert host.is_clean()


@contextmanager
def _attached(program: Fd, nic: str) -> Iterator[None]:
    with link_create_xdp(program, link(nic).ifindex, 0):
        yield


@pytest.mark.root
def test_the_doctor_knows_our_own_program_and_the_backends_out_of_reach(host: Host):
    with host.up("eth0"):
        host.run("vip", "add", "203.0.113.10:80/tcp", "--name", "web", "--forward", "ipip")
        assert host.run("doctor", "--pin-dir", str(host.pins)).returncode == 0
        host.run("backend", "add", "web", "198.51.100.7")
        told = host.run("doctor", "--pin-dir", str(host.pins))
        assert told.returncode == 1
        assert "ok    eth0 XDP program: xdplb's" in told.stdout
        assert "fail  backend 198.51.100.7 of 203.0.113.10:80/tcp" in told.stdout
        assert "fix: " in told.stdout
        host.down("--all")


@pytest.mark.root
def test_decap_comes_and_goes(host: Host):
    subprocess.run(["ip", "address", "add", "10.0.0.9/24", "dev", "eth0"], check=True)
    pins = ["--pin-dir", str(host.pins)]
    assert (
        host.run("decap", "up", "eth0", "--dry-run", *pins).stdout
        == "would change: IPIP and GUE are unwrapped on eth0\n"
    )
    assert link("eth0").xdp is None
    assert host.run("decap", "up", "eth0", *pins).stderr == "IPIP and GUE are unwrapped on eth0 (native mode)\n"
    assert host.run("decap", "up", "eth0", *pins).stderr == "IPIP and GUE are unwrapped on eth0 (native mode) already\n"
    assert link("eth0").xdp is not None
    assert "removed: the program on eth0" in host.run("decap", "down", "eth0", *pins).stderr
    assert "nothing to remove" in host.run("decap", "down", "eth0", *pins).stderr
    assert host.is_clean()


@pytest.mark.root
def test_decap_down_all_takes_it_off_every_nic(host: Host):
    subprocess.run(["ip", "address", "add", "10.0.0.9/24", "dev", "eth0"], check=True)
    pins = ["--pin-dir", str(host.pins)]
    for nic in ("eth0", "eth1"):
        assert host.run("decap", "up", nic, *pins).returncode == 0
    told = host.run("decap", "down", "--all", *pins)
    assert told.returncode == 0
    for nic in ("eth0", "eth1"):
        assert f"removed: the program on {nic}" in told.stderr
    assert host.is_clean()
    again = host.run("decap", "down", "--all", *pins)
    assert (again.returncode, again.stderr) == (
        0,
        "nothing to remove: IPIP and GUE are not unwrapped on any NIC\n",
    )


@pytest.mark.root
def test_up_without_a_nic_is_refused_and_says_where_a_service_names_it(host: Host):
    told = host.up_refused()
    assert told.returncode == 2
    assert "/etc/default/xdplb" in told.stderr
    assert host.is_clean()


@pytest.mark.root
def test_a_backend_host_s_decap_wants_a_bpffs_before_anything_is_changed(host: Host):
    subprocess.run(["ip", "address", "add", "10.0.0.9/24", "dev", "eth0"], check=True)

    state = host.folder / "state"
    words = ["203.0.113.10", "--forward", "ipip", "--interface", "eth0", "--state-dir", str(state)]
    told = host.run("backend-host", "setup", *words, "--pin-dir", str(host.folder / "plain"))
    if "tunl0" in names():
        pytest.skip("this kernel has an ipip module, so nothing is decapsulated in XDP")
    assert told.returncode == 1
    assert "is not in a BPF file system" in told.stderr
    assert not state.exists()


@pytest.mark.root
def test_down_and_its_dry_run_refuse_alike_what_is_no_bpffs(host: Host):
    host.pins = host.folder / "plain"
    told, foretold = host.down("eth0"), host.down("eth0", "--dry-run")
    assert "is not in a BPF file system" in told.stderr
    assert (foretold.returncode, foretold.stderr) == (told.returncode, told.stderr)
    assert foretold.returncode == 1


@pytest.mark.parametrize(
    "words",
    [
        ["up", "eth0"],
        ["down", "eth0"],
        ["down", "--all"],
        ["decap", "up", "eth0"],
        ["decap", "down", "eth0"],
        ["backend-host", "setup", "203.0.113.10", "--interface", "lo"],
        ["backend-host", "undo", "203.0.113.10"],
    ],
)
def test_what_needs_root_says_so_in_one_sentence(tmp_path: Path, words: list[str]):
    plain = [shutil.which("setpriv") or "setpriv", "--bounding-set=-all", "--inh-caps=-all"]
    command = [*(plain if os.geteuid() == 0 else []), str(Path(sys.executable).with_name("xdplb")), *words]
    told = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert told.returncode == 1
    assert "needs root (it lacks CAP_NET_ADMIN" in told.stderr
    assert told.stderr.endswith("hint: run it with sudo\n")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["up", "eth0", "--pin-dir"], "needs root"),
        (["up", "eth0", "--state-dir"], "needs root"),
        (["down", "--all", "--pin-dir"], "needs root"),
        (["doctor", "--pin-dir"], "this process lacks CAP_NET_ADMIN"),
        (["decap", "up", "eth0", "--pin-dir"], "needs root"),
        (["backend-host", "setup", "203.0.113.10", "--interface", "lo", "--pin-dir"], "needs root"),
        (["backend-host", "setup", "203.0.113.10", "--interface", "lo", "--state-dir"], "needs root"),
        (["backend-host", "show", "203.0.113.10", "--interface", "lo", "--pin-dir"], "203.0.113.10"),
        (["backend-host", "undo", "203.0.113.10", "--pin-dir"], "needs root"),
        (["backend-host", "undo", "203.0.113.10", "--state-dir"], "needs root"),
    ],
)
def test_a_folder_that_may_not_be_read_is_judged_by_the_command(tmp_path: Path, words: list[str], says: str):
    """The pins are root's. The option parser must not end with a usage error what has an exit code of its own."""
    (tmp_path / "pins").mkdir(mode=0)
    plain = [shutil.which("setpriv") or "setpriv", "--bounding-set=-all", "--inh-caps=-all"]
    command = [*(plain if os.geteuid() == 0 else []), str(Path(sys.executable).with_name("xdplb")), *words]
    told = subprocess.run([*command, str(tmp_path / "pins")], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert told.returncode == 1
    assert says in told.stdout + told.stderr
    assert "Traceback" not in told.stderr
    assert "Invalid value" not in told.stderr


@pytest.mark.parametrize("words", [["down"], ["down", "eth0", "--all"]])
def test_down_wants_nics_or_all(words: list[str]):
    told = xdplb(*words)
    assert told.returncode == 2
    assert "--all" in told.stderr


def test_adopting_and_discarding_the_maps_exclude_each_other():
    told = xdplb("up", "eth0", "--adopt-maps", "--discard-maps")
    assert told.returncode == 2
    assert "--adopt-maps, --discard-maps and --restore exclude each other: give one of them" in told.stderr


@pytest.mark.root
def test_a_state_dir_that_cannot_be_used_is_said_before_the_nic_is_touched(host: Host):
    with host.up("eth0") as daemon:
        assert host.run("vip", "add", "203.0.113.10:80/tcp", "--name", "web").returncode == 0
        daemon.terminate()
        daemon.wait(20)
    attached = link("eth0").xdp
    mistyped = ["--state-dir", str(host.folder / "mistyped")]
    refused = host.up_refused("eth0", options=mistyped)
    assert refused.returncode == 4
    assert "has no VIPs, and the maps in " in refused.stderr
    assert not (host.folder / "mistyped").exists()
    assert link("eth0").xdp == attached
    # another pin dir, and so no maps: the NIC has the program of the first one
    refused = host.up_refused("eth0", options=[*mistyped, "--pin-dir", f"{host.pins}-2"])
    assert refused.returncode == 4
    assert f"eth0 runs the xdplb that is pinned in {host.pins}" in refused.stderr
    assert link("eth0").xdp == attached


@pytest.mark.root
def test_another_user_keeps_no_crashed_daemon_from_starting_and_gives_down_no_one_to_kill(host: Host):
    open_a_way(host.folder)
    with host.up("eth0") as daemon, subprocess.Popen(["sleep", "60"]) as victim:
        files = [
            path for path in LOCK_DIR.glob("*.lock") if json.loads(path.read_text())["process"]["pid"] == daemon.pid
        ]
        assert len(files) == 3
        daemon.kill()
        daemon.wait()
        for path in files:  # as if the pid were used again
            said = json.loads(path.read_text())
            path.write_text(json.dumps({**said, "process": {**said["process"], "pid": victim.pid}}))
        with flocking(*files) as told:
            assert told == ["Permission denied"] * 3
            foretold = host.down("--all", "--dry-run")
            assert "is stopped" not in foretold.stdout, foretold.stdout
            with host.up("eth0") as second:
                assert host.down("--all").returncode == 0
                assert second.wait(10) == 0
        assert victim.poll() is None
        victim.kill()
    assert host.is_clean()


@pytest.mark.root
def test_a_pin_dir_that_others_may_enter_is_closed_and_one_of_another_user_is_refused(host: Host):
    host.pins.mkdir()
    host.pins.chmod(0o777)
    with host.up("eth0"):
        assert stat.S_IMODE(host.pins.stat().st_mode) == 0o700
        assert {stat.S_IMODE(path.stat().st_mode) for path in host.pins.iterdir()} == {0o600}
        assert host.down("--all").returncode == 0
    host.pins.mkdir()
    os.chown(host.pins, NOBODY, NOBODY)
    told = host.up_refused("eth0")
    assert told.returncode == 1
    assert f"{host.pins} belongs to user {NOBODY}" in told.stderr
    host.pins.rmdir()


@pytest.mark.root
def test_everything_is_for_root_alone_whatever_the_umask_is(host: Host):
    before = os.umask(0)
    try:
        with host.up("eth0"):
            host.run("vip", "add", "203.0.113.10:80/tcp")
            open_to_others = {
                str(path.relative_to(host.folder)): oct(stat.S_IMODE(path.stat().st_mode))
                for path in (host.folder / "state", *(host.folder / "state").iterdir(), host.socket)
                if path.stat().st_mode & 0o077
            }
            assert open_to_others == {"api.sock": "0o660"}
            host.down("--all")
    finally:
        os.umask(before)
