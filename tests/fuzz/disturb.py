# SPDX-License-Identifier: Apache-2.0
"""Changes behind the packets' back: what other packets, other CPUs, the control plane and time may have done."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from dataclasses import replace

from tests.fuzz.mirror import Mirror
from tests.fuzz.worlds import EPOCH, UNKNOWN_IDS
from xdplb.model.vip import NO_LIMITS
from xdplb.reference.config import Config
from xdplb.reference.flow_state import Bucket, Flow, FlowKey, FlowTable, Fragment, SourceKey

__all__ = ["disturb"]

SECOND = 10**9
MILLISECOND = 10**6
AGES = tuple(int(seconds * SECOND) for seconds in (0, 0, 0, 0.7, 0.9, 1.1, 30, 59, 61, 63, 65, 119, 121, 3600))
"""Of records, in ns: around a SYN's first timeout (0.8 s), what is touched (1 s), the last SYN sent again (64 s) and
what has been silent for too long (60 or 120 s)."""

NOTE_AGES = tuple(int(seconds * SECOND) for seconds in (0.1, 0.7, 0.9, 1.1, 30, 63, 65))
"""Of the notes of SYNs, in ns: around what is a SYN that is sent again (0.8 to 64 s)."""

HANDSHAKE_AGES = tuple(int(seconds * SECOND) for seconds in (0, 0, 0.0003, 0.02, 1, 3.9, 4.1, 70, 7200))
"""Of SYNs, in ns: around how long they wait (4 s), and what takes longer than the last bucket has."""

FRAGMENT_AGES = tuple(seconds * SECOND for seconds in (0, 0, 0, 29, 31, 70))
AHEAD = tuple(int(seconds * SECOND) for seconds in (-1, 0, 0.5, 0.9, 3))
"""Of buckets, in ns: what fills one is a second."""

ANSWERS_AHEAD = tuple(number * MILLISECOND for number in (-1, 0, 50, 97, 99, 100, 250, 5000))
FLAGS = (0, 0, 1, 1, 1, 3, 5, 2, 7, 8, 8, 9, 9, 9, 11, 15, 16, 17, 25)


def disturb(chance: random.Random, config: Config, mirror: Mirror, recent: Sequence[FlowKey], moment: int) -> None:
    """Change something, in both; mostly the record of a flow that has just sent something."""
    kind = chance.random()
    if mirror.state.handshakes and chance.random() < 0.2:
        _change_handshake(chance, mirror)
    elif kind < 0.3 and recent and config.suspects:
        _note_a_handshake(chance, config, mirror, chance.choice(recent), moment)
    elif kind < 0.7 and recent:
        _change_record(chance, config, mirror, chance.choice(recent), moment)
    elif kind < 0.8 and mirror.state.fragments:
        _change_fragment(chance, config, mirror, moment)
    elif kind < 0.84:
        _change_second_choices(chance, config, mirror, moment)
    elif kind < 0.9:
        mirror.put_loads({number: chance.choice([0, 0, 0, 1, 2, 1000]) for number in config.backends})
    elif kind < 0.95 and recent:
        _change_buckets(chance, config, mirror, chance.choice(recent), moment)
    else:
        mirror.put_answer_budget(moment + chance.choice(ANSWERS_AHEAD))


def _change_record(chance: random.Random, config: Config, mirror: Mirror, key: FlowKey, moment: int) -> None:
    """Give a flow another record, or none."""
    flow = Flow(
        backend=_some_backend(chance, config, key.source.version),
        epoch=_some_epoch(chance),
        flags=chance.choice(FLAGS),
        vip=chance.choice(list(config.vips)),
        last_seen=max(1, moment - chance.choice(AGES)),
    )
    mirror.put_flow(key, flow if chance.random() < 0.8 else None, chance.choice(list(FlowTable)))


def _change_handshake(chance: random.Random, mirror: Mirror) -> None:
    """Let a sampled connection have begun earlier, at another backend, or under another VIP, or have gone on."""
    place, found = chance.choice(list(mirror.state.handshakes.items()))
    began = max(1, time.monotonic_ns() - chance.choice(HANDSHAKE_AGES))
    changed = replace(
        found,
        syn_at=began,
        last_at=began,
        backend=found.backend + (chance.random() < 0.1),
        epoch=_some_epoch(chance),
        flags=chance.choice([0, 0, 0, *range(8)]),
        repeated=chance.choice([0, 0, 1, 254, 255]),
        flow=found.flow ^ (chance.random() < 0.2),
    )
    mirror.put_handshake(place, changed)


def _note_a_handshake(chance: random.Random, config: Config, mirror: Mirror, key: FlowKey, moment: int) -> None:
    """Let a flow have sent nothing but a SYN, to a backend that may be suspect."""
    own = [number for number in config.suspects if config.backends[number].inner_version == key.source.version]
    if not own:
        return
    table = chance.choice(list(FlowTable))
    flow = Flow(
        backend=chance.choice(own),
        epoch=EPOCH,
        flags=chance.choice([0, 8] if table is FlowTable.PROBATION else [0, 8, 9]),
        vip=chance.choice(list(config.vips)),
        last_seen=max(1, moment - chance.choice(NOTE_AGES)),
    )
    mirror.put_flow(key, flow, table)


def _change_fragment(chance: random.Random, config: Config, mirror: Mirror, moment: int) -> None:
    """Let the first fragment of a packet be longer ago, or have gone elsewhere."""
    key = chance.choice(list(mirror.state.fragments))
    backend = _some_backend(chance, config, key.source.version)
    vip = chance.choice(list(config.vips))
    last_seen = max(1, moment - chance.choice(FRAGMENT_AGES))
    protocol = chance.choice([0, 6, 6, 17, 58])
    mirror.put_fragment(key, Fragment(backend, _some_epoch(chance), vip, last_seen, protocol))


def _change_buckets(chance: random.Random, config: Config, mirror: Mirror, key: FlowKey, moment: int) -> None:
    """Let much, or nothing, have come in for a VIP, and from a source."""
    own = [vip for vip in config.vips.values() if vip.key.address.version == key.source.version]
    limited = [vip.id for vip in own if vip.limits != NO_LIMITS]
    if limited:
        vip_id = chance.choice(limited)
        ahead = [moment + chance.choice(AHEAD) for _ in range(2)]
        mirror.put_vip_bucket(vip_id, Bucket(*ahead))
        mirror.put_source_bucket(SourceKey.of(key.source, vip_id), Bucket(*ahead))


def _change_second_choices(chance: random.Random, config: Config, mirror: Mirror, moment: int) -> None:
    """Let a backend have got many new connections, or let strays of a VIP have been seen lately, or long ago."""
    limited = [backend.id for backend in config.backends.values() if backend.max_new_flows]
    if limited:
        mirror.put_backend_bucket(chance.choice(limited), moment + chance.choice(AHEAD))
    vips = [vip.id for vip in config.vips.values() if vip.second_choice]
    if vips:
        mirror.put_strays(chance.choice(vips), max(1, moment - chance.choice(AGES)))


def _some_epoch(chance: random.Random) -> int:
    return EPOCH if chance.random() < 0.85 else EPOCH + 1


def _some_backend(chance: random.Random, config: Config, version: int) -> int:
    own = [backend.id for backend in config.backends.values() if backend.inner_version == version]
    return chance.choice([*own, *own, *UNKNOWN_IDS])
