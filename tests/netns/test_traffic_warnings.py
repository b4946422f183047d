"""What a change does to open connections is said, with real ones, also while most of them have no record."""

from __future__ import annotations

from xdplb.net.lab import ADDRESSES

from .balancer import KEY, Balancer, Download


def test_open_connections_and_the_last_backend_do_not_go_without_a_word(ready: Balancer) -> None:
    ready.add("dr1")
    quiet = ready.cli("vip", "rm", KEY, "--dry-run")
    assert "warning" not in quiet.stderr
    download = Download(ready, size=4_000_000, seconds=20)
    sentence = f"warning: open connections of VIP {KEY} break: {ADDRESSES['dr1']} had packets "
    for words in (["vip", "rm", KEY], ["backend", "rm", KEY, str(ADDRESSES["dr1"])]):
        assert sentence in ready.cli(*words, "--dry-run").stderr
    drained = ready.cli("backend", "drain", KEY, str(ADDRESSES["dr1"]))
    assert f"warning: no backend of VIP {KEY} takes new connections now" in drained.stderr
    assert download.running
    ready.cli("backend", "undrain", KEY, str(ADDRESSES["dr1"]))
    removed = ready.cli("vip", "rm", KEY)
    assert "warning: open connections of VIP" in removed.stderr
    assert removed.returncode == 0


def test_a_backend_that_does_not_answer_is_told_when_it_is_added(ready: Balancer) -> None:
    ready.add("dr1")
    told = ready.cli("backend", "add", KEY, "10.0.0.99")
    assert f"warning: backend 10.0.0.99 of VIP {KEY} gets no packets yet: " in told.stderr
    assert "10.0.0.99" in told.stderr.rpartition("yet: ")[2]
    told = ready.cli("backend", "add", KEY, str(ADDRESSES["balancer"]))
    assert "is an address of this host itself" in told.stderr
    told = ready.cli("backend", "add", KEY, "10.0.1.99")  # behind the router, where dr does not reach
    assert "gets no packets yet: " in told.stderr
    assert "warning" not in ready.cli("backend", "add", KEY, str(ADDRESSES["dr2"])).stderr
