# SPDX-License-Identifier: Apache-2.0
"""`xdplb capture` shows each packet as it came and as it left, says what was decided, and leaves nothing behind."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from scapy.layers.inet import ICMP, IP, TCP
from scapy.layers.inet6 import IPv6
from scapy.utils import PcapNgReader

from tests.waiting import until
from xdplb.dataplane.pins import Meta
from xdplb.net.lab import ADDRESSES, VIP, VIP6

from .balancer import COMMAND_SECONDS, KEY, PORT, XDPLB, Balancer

CLIENT = str(ADDRESSES["client"])


class Capturing:
    """An `xdplb capture` that runs."""

    def __init__(self, balancer: Balancer, *arguments: str) -> None:
        self.file = balancer.lab.folder / f"capture-{time.monotonic_ns()}.pcapng"
        self.said = self.file.with_suffix(".err")
        command = [XDPLB, "--socket", str(balancer.socket), "capture", *arguments, "-w", str(self.file)]
        with self.said.open("w") as said:
            self.process = balancer.lab.popen("balancer", command, stderr=said)
        until(lambda: "capturing" in self.said.read_text() or self.process.poll() is not None, COMMAND_SECONDS)

    def finish(self) -> list[Any]:
        """Press Ctrl-C and return the frames."""
        time.sleep(0.5)  # what the program has handed out is read within 0.2 s
        self.process.send_signal(signal.SIGINT)
        return self.ended()

    def ended(self) -> list[Any]:
        """Wait until it has ended by itself, and return the frames."""
        assert self.process.wait(COMMAND_SECONDS) == 0, self.said.read_text()
        return read(self.file)


@contextmanager
def capturing(balancer: Balancer, *arguments: str) -> Iterator[list[Any]]:
    """Capture while in the block; the frames are there after it."""
    frames: list[Any] = []
    running = Capturing(balancer, *arguments)
    yield frames
    frames.extend(running.finish())


def read(file: Path) -> list[Any]:
    """Return the frames of a file."""
    with file.open("rb") as opened:
        return list(PcapNgReader(opened))


def program(balancer: Balancer) -> tuple[str, int]:
    """Return the program on the NIC, as the kernel names its instructions, and what it was compiled from."""
    shown = json.loads(balancer.lab.run("balancer", ["ip", "-j", "-d", "link", "show", "eth0"]).stdout)
    return shown[0]["xdp"]["prog"]["tag"], Meta.open(balancer.lab.pin_dir).program_hash


def said(frame: Any) -> str:
    """Return a frame's comment."""
    text: str = frame.comments[0].decode()
    return text


def halves(frames: list[Any]) -> dict[int, list[Any]]:
    """Return the frames in pairs: of each packet the one that came in, and the one that left if it did."""
    pairs: list[list[Any]] = []
    for frame in frames:
        if frame.direction == 1:
            pairs.append([frame])
        else:
            pairs[-1].append(frame)
    return dict(enumerate(pairs))


def test_a_request_is_seen_whole_as_it_came_and_as_it_left(ready: Balancer) -> None:
    ready.add("dr1", "ipip1")
    before = program(ready)
    with capturing(ready, KEY, "--snaplen", "2000") as frames:
        assert program(ready) != before
        hosts = {port: ready.text("--local-port", str(port)).split()[0] for port in range(42000, 42008)}
    until(lambda: program(ready) == before, COMMAND_SECONDS)
    assert set(hosts.values()) == {"dr1", "ipip1"}
    seen = set()
    for came, left in halves(frames).values():
        host = hosts[came[TCP].sport]
        seen.add((came[TCP].sport, str(came[TCP].flags)))
        backend = str(ADDRESSES[host])
        assert said(came) == said(left)
        assert said(came).startswith(f"sent to {backend} by {'ipip' if host == 'ipip1' else 'dr'}, "), said(came)
        assert re.search(rf", slot \d+ .*out of eth0, for {re.escape(KEY)}$", said(came)), said(came)
        assert (came.sniffed_on, left.sniffed_on) == ("eth0", "eth0")
        assert (came[IP].src, came[IP].dst) == (CLIENT, str(VIP))
        if host == "ipip1":
            assert left[IP].dst == backend
            assert bytes(left[IP].payload)[20:] == bytes(came[IP].payload)
        else:
            assert bytes(left)[14:] == bytes(came)[14:]
        assert bytes(left)[:12] != bytes(came)[:12]
        assert 0 <= left.time - came.time < 1
        assert abs(float(came.time) - time.time()) < 600
    assert {(port, "S") for port in hosts} <= seen


def test_what_is_dropped_is_there_with_the_reason_and_echo_with_its_answer(ready: Balancer) -> None:
    ready.add("dr1")
    ready.cli("vip", "access", "set", KEY, "--deny", CLIENT)
    with capturing(ready, KEY, CLIENT) as frames:
        ready.lab.run("client", ["curl", "-s", "--max-time", "1", f"http://{VIP}/"], check=False)
        ready.lab.run("client", ["ping", "-c", "1", "-W", "2", str(VIP)])
    told = {(said(pair[0]), len(pair)) for pair in halves(frames).values()}
    assert told == {
        (f"dropped (denied): the VIP's access list denies the source, for {KEY}", 1),
        ("answered (echo): an echo request to a VIP's address, out of eth0", 2),
    }
    echo = next(frame for frame in frames if ICMP in frame and frame.direction == 2)
    assert (echo[ICMP].type, echo[IP].dst) == (0, CLIENT)


def test_what_is_left_to_the_host_is_seen_where_the_client_is_asked_for_alone(ready: Balancer) -> None:
    ready.add("dr1")
    client = f"{CLIENT}:42100"
    asked = ["curl", "-s", "--max-time", "1", "--local-port", "42100", f"http://{VIP}:81/"]
    with capturing(ready) as nothing:
        ready.lab.run("client", asked, check=False)
    assert [frame for frame in nothing if TCP in frame and frame[TCP].dport == 81] == []
    with capturing(ready, client) as frames:
        ready.lab.run("client", asked, check=False)
        ready.text("--local-port", "42101")
    assert frames
    assert {said(frame) for frame in frames} == {
        "passed to the host (no_vip): no VIP has this address, port and protocol"
    }
    assert {len(frame.original) for frame in frames} == {frame.wirelen for frame in frames}


def test_it_ends_after_so_many_packets_or_seconds_and_takes_a_sample(ready: Balancer) -> None:
    ready.add("dr1")
    running = Capturing(ready, KEY, "--packets", "7", "--snaplen", "64")
    ready.get(20)
    frames = running.ended()
    assert len(halves(frames)) == 7
    assert max(len(bytes(frame)) for frame in frames) == 64
    assert "7 packets (14 frames)" in running.said.read_text()
    assert Capturing(ready, KEY, "--seconds", "0.5").ended() == []
    running = Capturing(ready, KEY, "--sample", "4")
    before = ready.ask("stats", KEY)["packets"]
    ready.get(300)
    taken = len(halves(running.finish())) / (ready.ask("stats", KEY)["packets"] - before)
    assert 0.15 < taken < 0.35


def test_ipv6_joins_while_it_runs(ready: Balancer) -> None:
    """The program is compiled anew for the IPv6 VIP, and the capture goes on in that."""
    ready.add("dr1")
    key6 = f"[{VIP6}]:{PORT}/tcp"
    with capturing(ready) as frames:
        ready.get(3)
        ready.cli("vip", "add", key6)
        ready.lab.run("client", ["curl", "-s", "--max-time", "1", f"http://[{VIP6}]/"], check=False)
        ready.get(3)
        ready.cli("vip", "rm", key6)
    told = [said(frame) for frame in frames if IPv6 in frame and TCP in frame]
    assert told
    assert all(text.startswith("dropped (no_backend): ") and text.endswith(f"for {key6}") for text in told), told
    times = [frame.time for frame in frames if IPv6 in frame]
    assert min(frame.time for frame in frames) < times[0]
    assert any(frame.time > times[-1] and "sent to" in said(frame) for frame in frames)


def test_there_is_one_at_a_time_and_what_is_wrong_is_said_before_a_file_is_touched(ready: Balancer) -> None:
    ready.add("dr1")
    file = ready.lab.folder / "mine.pcapng"
    file.write_text("mine")
    running = Capturing(ready, KEY)
    told = ready.cli("capture", "-w", str(file), check=False)
    assert (told.returncode, "one can run at a time" in told.stderr) == (4, True)
    running.finish()
    told = ready.cli("capture", "nobody", "-w", str(file), check=False)
    assert (told.returncode, "there is no VIP 'nobody'" in told.stderr) == (1, True)
    assert file.read_text() == "mine"


@pytest.mark.skipif(shutil.which("tcpdump") is None, reason="no tcpdump here")
def test_tcpdump_reads_it_from_a_pipe(ready: Balancer) -> None:
    ready.add("ipip1")
    told = ready.lab.folder / "piped.err"
    script = f"{XDPLB} --socket {ready.socket} capture {KEY} -w - --packets 3 2>{told} | tcpdump -nr -"
    reading = ready.lab.popen("balancer", ["bash", "-c", script], stdout=subprocess.PIPE, text=True)
    until(lambda: told.exists() and "capturing" in told.read_text(), COMMAND_SECONDS)
    ready.get(2)
    text, _ = reading.communicate(timeout=60)
    assert len(text.splitlines()) == 6
    assert f"> {ADDRESSES['ipip1']}: IP {CLIENT}" in text


def test_a_daemon_that_is_killed_while_it_captures_leaves_nothing_to_the_next(balancer: Balancer) -> None:
    balancer.prepare("dr1")
    balancer.start()
    balancer.add("dr1")
    before = program(balancer)
    running = Capturing(balancer, KEY)
    assert balancer.get(3)
    assert program(balancer) != before
    until(lambda: len(read(running.file)) > 10)  # they are read a moment after they came
    balancer.kill()
    assert running.process.wait(COMMAND_SECONDS) == 3
    assert "closed the connection" in running.said.read_text()
    assert len(read(running.file)) > 10
    assert balancer.get(3)
    balancer.start()
    assert program(balancer) == before
    assert balancer.get(3)


def test_a_daemon_that_is_stopped_ends_the_file_and_puts_the_program_back(balancer: Balancer) -> None:
    balancer.prepare("dr1")
    balancer.start()
    balancer.add("dr1")
    before = program(balancer)
    running = Capturing(balancer, KEY)
    assert balancer.get(3)
    time.sleep(0.5)
    assert balancer.daemon is not None
    balancer.daemon.terminate()
    assert balancer.daemon.wait(COMMAND_SECONDS) == 0
    assert running.ended()
    assert program(balancer) == before


def test_a_change_does_not_wait_for_a_capture_to_start_or_to_end(
    balancer: Balancer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both compile a program, which takes seconds; a change is answered while one is compiled."""
    monkeypatch.delenv("XDPLB_TESTS_COMPILED")
    balancer.prepare("dr1", "dr2")
    balancer.start()
    balancer.add("dr1", "dr2")
    took: dict[str, list[float]] = {"before": [], "starting": [], "ending": []}

    def change(when: str) -> None:
        weight = sum(map(len, took.values())) % 5 + 1
        path = f"http://localhost/v1/vips/{VIP}:{PORT}:tcp/backends/{ADDRESSES['dr1']}"
        body = json.dumps({"weight": weight})
        asked = [
            "curl",
            "-sf",
            "--unix-socket",
            str(balancer.socket),
            "-X",
            "PATCH",
            "--json",
            body,
            path,
            "-o",
            "/dev/null",
        ]
        begun = time.monotonic()
        subprocess.run(asked, check=True, timeout=COMMAND_SECONDS)
        took[when].append(time.monotonic() - begun)

    before = program(balancer)
    for _ in range(5):
        change("before")
    file = balancer.lab.folder / "meanwhile.pcapng"
    command = [XDPLB, "--socket", str(balancer.socket), "capture", "-w", str(file)]
    begun = time.monotonic()
    running = balancer.lab.popen("balancer", command)
    while program(balancer) == before:
        change("starting")
        assert time.monotonic() - begun < COMMAND_SECONDS
    compiled = time.monotonic() - begun
    until(lambda: file.exists() and file.stat().st_size > 0, COMMAND_SECONDS)
    running.send_signal(signal.SIGINT)
    while program(balancer) != before:
        change("ending")
        assert time.monotonic() - begun < 2 * COMMAND_SECONDS
    assert running.wait(COMMAND_SECONDS) == 0
    most = max(took["starting"] + took["ending"])
    assert most < max(compiled / 2, 4 * max(took["before"])), (compiled, took)
