# SPDX-License-Identifier: Apache-2.0
"""Explaining one packet and capturing many: how the plane gets what such programs say, here ones that always do."""

from __future__ import annotations

import socket
from ipaddress import IPv4Address, IPv6Address, ip_network
from pathlib import Path

import pytest

from tests.unit.dataplane.loading import forbid_compiling, left, program_on, up
from xdplb.dataplane import layout, libbpf, programs
from xdplb.dataplane.decision_codec import encode_filter
from xdplb.dataplane.decisions import CapturedFrame, CaptureFilter, Chosen, KernelDecision
from xdplb.dataplane.features import Feature
from xdplb.dataplane.loader import unload
from xdplb.dataplane.source import flatten, source_dir
from xdplb.model.errors import InvalidError, PlatformError

FRAME = bytes(range(100))

PROGRAM = """
#ifdef WITH_EXPLAIN
BPF_TABLE_PINNED("array", __u32, struct decision, explain_decision, 1, PIN_DIR "/explain_decision");
#endif
#ifdef WITH_CAPTURE
BPF_TABLE_PINNED("array", __u32, struct capture_filter, capture_filter, 1, PIN_DIR "/capture_filter");
struct capture_events_table {
	int key;
	__u32 leaf;
	int (*perf_submit)(void *, void *, __u32);
	int (*perf_submit_skb)(void *, __u32, void *, __u32);
	__u32 max_entries;
};
__attribute__((section("maps/perf_output:" PIN_DIR "/capture_events"))) struct capture_events_table capture_events = {};
#endif
int xdplb(struct xdp_md *ctx)
{
#ifdef WITH_EXPLAIN
	__u32 zero = 0;
	struct decision *decision = explain_decision.lookup(&zero);

	if (decision)
		*decision = (struct decision){
			.hash = ctx->ingress_ifindex,
			.slot = 0xffff0007,
			.slot_number = 65536,
			.reason = PASS_NOT_UNICAST,
			.vip = 5,
			.backend = 7,
			.chosen = CHOSEN_RECORD,
			.flags = DECISION_VIP | DECISION_SLOT | DECISION_NEW,
		};
	return XDP_TX;
#endif
#ifdef WITH_CAPTURE
	__u32 zero = 0;
	const struct capture_filter *filter = capture_filter.lookup(&zero);
	struct capture_event event = {.time = 1, .id = 1, .ifindex = 2, .frame_bytes = ctx->data_end - ctx->data};
	__u32 length = ctx->data_end - ctx->data;

	if (!filter)
		return XDP_PASS;
	if (length > filter->snap_bytes)
		length = filter->snap_bytes;
	capture_events.perf_submit_skb(ctx, length, &event, sizeof(event)); /* bcc takes no other than a plain word */
	event.direction = CAPTURE_OUT;
	event.time = 3;
	event.ifindex = 4;
	event.reason = 60000;
	event.vip = 5;
	event.flags = DECISION_VIP;
	event.verdict = XDP_TX;
	event.source_port = 0x3930; /* 12345 in network order */
	capture_events.perf_submit_skb(ctx, length, &event, sizeof(event));
#endif
	return XDP_PASS;
}
"""


@pytest.fixture
def program(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a program be compiled that says what this file expects."""
    text = "".join(flatten(source_dir() / "lib" / name) for name in ("layout.h", "reasons.h")) + PROGRAM
    monkeypatch.setattr(programs, "flatten", lambda _: text)


@pytest.mark.root
@pytest.mark.usefixtures("program")
def test_a_decision_is_what_the_program_left(pin_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plane = up(pin_dir)
    ifindex = socket.if_nametoindex("eth0")
    before = program_on("eth0")
    expected = KernelDecision(
        verdict=libbpf.XDP_TX,
        frame=FRAME,
        reason="pass_not_unicast",
        chosen=Chosen.RECORD,
        vip_id=5,
        backend_id=7,
        hash=ifindex,
        slot=65536,
        owner=7,
        previous=layout.SLOT_PINNED,
        is_new=True,
    )
    assert plane.explain(FRAME, ifindex) == expected
    assert program_on("eth0") == before
    forbid_compiling(monkeypatch)
    assert up(pin_dir).explain(FRAME, ifindex) == expected
    unload(pin_dir)
    assert left(pin_dir.parent) == []


@pytest.mark.root
@pytest.mark.usefixtures("program")
def test_what_cannot_be_explained_is_told(pin_dir: Path) -> None:
    plane = up(pin_dir)
    for frame in (b"", bytes(13), bytes(3521)):
        with pytest.raises(InvalidError, match="cannot be run"):
            plane.explain(frame, socket.if_nametoindex("eth0"))
    assert plane.explain(bytes(3520), socket.if_nametoindex("eth0")).frame == bytes(3520)
    with pytest.raises(PlatformError, match="explain a packet"):
        plane.explain(FRAME, 4321)


@pytest.mark.root
@pytest.mark.usefixtures("program")
def test_a_capture_hands_out_frames_until_it_is_stopped(pin_dir: Path) -> None:
    plane = up(pin_dir)
    before = program_on("eth0")
    capture = plane.start_capture(CaptureFilter(snap_bytes=64))
    assert plane.features == {Feature.CAPTURE}
    assert program_on("eth0") != before
    with libbpf.obj_get(pin_dir / "program") as running:
        for length in (100, 20, 21):
            libbpf.prog_test_run(running, FRAME[:length])
    packets = capture.poll(1)
    assert [packet.came for packet in packets] == [
        CapturedFrame(1, 2, 100, FRAME[:64]),
        CapturedFrame(1, 2, 20, FRAME[:20]),
        CapturedFrame(1, 2, 21, FRAME[:21]),
    ]
    first = packets[0]
    assert first.left == CapturedFrame(3, 4, 100, FRAME[:64])
    assert (first.source_port, first.decision.verdict) == (12345, libbpf.XDP_TX)
    assert (first.decision.reason, first.decision.vip_id, first.decision.backend_id) == (None, 5, None)
    assert (capture.lost, capture.poll(0)) == (0, [])
    plane.stop_capture()
    plane.stop_capture()
    assert plane.features == frozenset()


@pytest.mark.root
@pytest.mark.usefixtures("program")
def test_a_capture_cut_short_ends_with_the_next_start(pin_dir: Path) -> None:
    up(pin_dir).start_capture(CaptureFilter())
    assert up(pin_dir).features == frozenset()


@pytest.mark.root
@pytest.mark.usefixtures("program")
def test_what_nobody_reads_is_counted(pin_dir: Path) -> None:
    plane = up(pin_dir)
    capture = plane.start_capture(CaptureFilter(snap_bytes=64))
    with libbpf.obj_get(pin_dir / "program") as running:
        libbpf.prog_test_run(running, FRAME, repeat=5000)
        got = len(capture.poll(0.1))
        libbpf.prog_test_run(running, FRAME)
        capture.poll(0.1)
    assert 0 < got < 5000
    assert 2 * (5000 - got) - 1 <= capture.lost <= 2 * (5000 - got)


def test_a_filter_lies_in_its_map_as_packets_have_it() -> None:
    wanted = CaptureFilter(source=ip_network("198.51.100.0/24"), one_in=3, snap_bytes=96)
    value = encode_filter(wanted)
    assert value["source"].tobytes() == IPv4Address("198.51.100.0").packed + bytes(12)
    assert value["source_mask"].tobytes() == IPv4Address("255.255.255.0").packed + bytes(12)
    assert not value["destination_mask"].any()
    assert value[["version", "one_in", "snap_bytes"]].tolist() == [(4, 3, 96)]
    assert encode_filter(CaptureFilter())["version"] == [0]
    six = encode_filter(CaptureFilter(destination=ip_network("2001:db8::/33")))
    assert six["destination"].tobytes() == IPv6Address("2001:db8::").packed
    assert six["destination_mask"].tobytes() == IPv6Address("ffff:ffff:8000::").packed
