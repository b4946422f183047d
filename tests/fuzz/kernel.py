# SPDX-License-Identifier: Apache-2.0
"""The program in the kernel, with maps of its own: a frame run through it as fast as Python can, and its maps as
bytes."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from ctypes import c_int, c_size_t, c_uint32, c_void_p
from functools import cached_property
from pathlib import Path

import numpy as np

from tests.fuzz.profiles import CAPACITY, INGRESS, OTHER_NIC
from tests.fuzz.routes import WAYS, Namespace
from xdplb.dataplane import layout
from xdplb.dataplane.bcc_plane import BccPlane
from xdplb.dataplane.features import Feature, Features
from xdplb.dataplane.flow_lines import FlowLines
from xdplb.dataplane.libbpf import call, prog_test_run
from xdplb.dataplane.maps import BpfMap
from xdplb.dataplane.pinned_maps import Maps
from xdplb.dataplane.shared_flows import SharedFlowReader
from xdplb.reference.config import Config

__all__ = ["Kernel"]

ROOM = 4096

STATE_MAPS = ("flows", "flows6", "probation", "probation6", "fragments", "source_buckets")
LINES = {"flows": "flow_lines", "flows6": "flow_lines6"}
BUCKETS = ("vip_buckets", "answer_budget", "vip_strays")
COUNTERS = ("vip_stats", "backend_stats", "second_stats", "reason_stats", "nic_stats", "unwrapped_packets")
HANDSHAKES = ("handshakes", "handshake_stats")


class _TestRunOpts(ctypes.Structure):
    _fields_ = [
        ("sz", c_size_t),
        ("data_in", c_void_p),
        ("data_out", c_void_p),
        ("data_size_in", c_uint32),
        ("data_size_out", c_uint32),
        ("ctx_in", c_void_p),
        ("ctx_out", c_void_p),
        ("ctx_size_in", c_uint32),
        ("ctx_size_out", c_uint32),
        ("retval", c_uint32),
        ("repeat", c_int),
        ("duration", c_uint32),
        ("flags", c_uint32),
        ("cpu", c_uint32),
        ("batch_size", c_uint32),
    ]


class Kernel:
    """One program and its maps, in a folder of a bpffs that is its own."""

    def __init__(self, folder: Path, features: Features) -> None:
        self.features = features
        folder.mkdir()
        self.plane = BccPlane(Maps.create(folder, CAPACITY))
        self._program = self.plane.compile_for(features)
        self.plane.maps.tx_ports.update(OTHER_NIC, INGRESS)
        self._namespace = Namespace() if Feature.NAT in features else None
        self._shared: list[bytes] = []
        maps = self.plane.maps
        self._reader = (
            SharedFlowReader(maps.shared_flows, maps.shared_losses)
            if maps.shared_flows is not None and maps.shared_losses is not None
            else None
        )
        self._in = ctypes.create_string_buffer(ROOM)
        self._out = ctypes.create_string_buffer(ROOM)
        self._options = _TestRunOpts(
            sz=ctypes.sizeof(_TestRunOpts),
            data_in=ctypes.addressof(self._in),
            data_out=ctypes.addressof(self._out),
            repeat=1,
        )

    def reload(self) -> None:
        """Run the program that the plane has now."""
        self._program.close()
        self._program = self.plane.compile_for(self.plane.features)

    @contextmanager
    def routed(self) -> Iterator[None]:
        """Let the program find the routes that the model is told of, in this thread."""
        with self._namespace.entered() if self._namespace else nullcontext():
            yield

    @property
    def cpu(self) -> int:
        """The one CPU that this process is bound to."""
        (cpu,) = os.sched_getaffinity(0)
        return cpu

    def run(self, frame: bytes, *, metadata: bytes = b"") -> tuple[int, bytes]:
        """Return the verdict on a frame, and what became of it. Metadata in front of it takes from its headroom."""
        if metadata:
            result = prog_test_run(self._program, frame, metadata=metadata)
            return result.verdict, result.packet
        options = self._options
        ctypes.memmove(self._in, frame, len(frame))
        options.data_size_in = len(frame)
        options.data_size_out = ROOM
        call("bpf_prog_test_run_opts", self._program.fileno(), ctypes.byref(options))
        return options.retval, ctypes.string_at(self._out, options.data_size_out)

    def install(self, config: Config) -> None:
        """Make this the configuration, with no state and all counters at zero."""
        plane = self.plane
        plane.write_vips([])
        self.forget()
        plane.clear_backends(sorted(plane.read_backends()))
        plane.write_backends(list(config.backends.values()))
        plane.write_suspects(config.suspects)
        for vip_id in range(CAPACITY.vips):
            if vip_id in config.tables:
                plane.write_table(vip_id, config.tables[vip_id])
            elif plane.read_table(vip_id) is not None:
                plane.delete_table(vip_id)
        if Feature.ACCESS in self.features:
            plane.write_access(config.access)
        if Feature.DECAP in self.features:
            plane.write_decap(config.decap)
        plane.write_vips(list(config.vips.values()))
        plane.write_client_ways(WAYS)
        if Feature.PASSIVE in self.features:
            plane.write_shares({number: config.shares.get(number, 0) for number in range(CAPACITY.vips)})
        self.zero_counters()

    def forget(self) -> None:
        """Take away all state; counters stay."""
        for name in STATE_MAPS:
            if self.has(name):
                found = self.map(name)
                found.delete_batch(found.read_all()[0])
        for name in LINES.values():
            if self.has(name):
                with FlowLines(self.map(name)) as lines:
                    lines.delete_batch(lines.read_all()[0])
        for name in BUCKETS:
            self._zero(name)
        self.plane.write_loads(dict.fromkeys(self.plane.read_backends(), 0))
        for number in self.plane.read_backends():
            self.put_backend_bucket(number, 0)
        self.shared()
        self._shared = []

    def zero_counters(self) -> None:
        """Start all counters at zero."""
        for name in (*COUNTERS, *HANDSHAKES):
            if self.has(name):
                self._zero(name)

    def handshakes(self) -> np.ndarray:
        """Return the places of sampled connections."""
        return self.map("handshakes").read_all()[1].view(layout.HANDSHAKE).reshape(-1)

    def noted_at(self) -> int:
        """Return when the latest packet of a sampled connection was noted, in ns; 0 if none was."""
        return int(self._noted.max()) if self.has("handshakes") else 0

    @cached_property
    def _noted(self) -> np.ndarray:
        return np.frombuffer(self.map("handshakes").mapped(), layout.HANDSHAKE, layout.HANDSHAKES)["last_at"]

    def map(self, name: str) -> BpfMap:
        """Return a map that there is with these features."""
        found: BpfMap = getattr(self.plane.maps, name)
        return found

    def has(self, name: str) -> bool:
        """Whether there is this map with these features."""
        return getattr(self.plane.maps, name) is not None

    def contents(self, name: str) -> dict[bytes, bytes]:
        """Return all of a hash map; of a table of open flows also what is in lines."""
        tables = [self.map(name).read_all()]
        if name in LINES:
            with FlowLines(self.map(LINES[name])) as lines:
                tables.append(lines.read_all())
        found = [pair for keys, values in tables for pair in zip(keys, values, strict=True)]
        contents = {key.tobytes(): value.tobytes() for key, value in found}
        assert len(contents) == len(found), "a flow has two records"
        return contents

    def flow(self, name: str, key: bytes) -> bytes | None:
        """Return a record of a flow table, wherever it is."""
        found = self.map(name).lookup(key)
        if found is None and name in LINES:
            with FlowLines(self.map(LINES[name])) as lines:
                return lines.lookup(key)
        return found

    def forget_flow(self, name: str, key: bytes) -> None:
        """Take away a record of a flow table."""
        self.map(name).delete(key)
        if name in LINES:
            with FlowLines(self.map(LINES[name])) as lines:
                lines.delete_batch(np.frombuffer(key, np.uint8)[None, :])

    def sums(self, name: str) -> np.ndarray:
        """Return a per-CPU map of 64-bit numbers, summed over the CPUs, shape (keys, fields)."""
        found = self.map(name)
        values = found.read_all()[1]
        fields = found.info.value_size // 8
        return values.view(np.uint64).reshape(len(values), -1, fields).sum(axis=1)

    def shared(self) -> list[bytes]:
        """Return what was handed out for other balancers since all state was taken away, in order."""
        if self._reader is not None:
            self._shared += [flow.tobytes() for flow in self._reader.read()]
            assert self._reader.lost() == 0, "the ring is read too seldom"
        return self._shared

    def put_backend_bucket(self, backend_id: int, empty_at: int) -> None:
        """Make this what a backend has taken."""
        doubts = self.map("backend_doubts")
        value = np.frombuffer(doubts.read(backend_id), layout.BACKEND_DOUBT).copy()
        value["empty_at"] = empty_at
        doubts.update(backend_id, value)

    def backend_buckets(self) -> dict[int, int]:
        """Return what each backend has taken, by id, those without a bucket left out."""
        return _that_have(self.map("backend_doubts").read_all()[1].view(layout.BACKEND_DOUBT)["empty_at"])

    def strays(self) -> dict[int, int]:
        """Return when a stray of each VIP was last seen, by id, those that have had none left out."""
        return _that_have(self.map("vip_strays").read_all()[1].view(np.uint64))

    def loads(self) -> dict[int, int]:
        """Return how many open flows each backend has, by id, those with none left out."""
        return _that_have(self.map("backend_loads").read_all()[1].view(layout.BACKEND_LOAD)["flows"])

    def _zero(self, name: str) -> None:
        found = self.map(name)
        keys = np.arange(found.info.max_entries, dtype=np.uint32)
        found.update_batch(keys, np.zeros((len(keys), found.value_bytes), np.uint8))


def _that_have(numbers: np.ndarray) -> dict[int, int]:
    """Return the numbers that are not 0, by their place."""
    found = numbers.reshape(-1)
    return {int(place): int(found[place]) for place in np.flatnonzero(found)}
