# SPDX-License-Identifier: Apache-2.0
"""What one balancer writes to the store that they share, the others read: the same state, bit for bit."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.property.any_edits import any_edit
from xdplb.control.edits.apply import apply_edit
from xdplb.control.edits.joined import News, joined, news_of_all
from xdplb.control.state.desired import Desired
from xdplb.control.state.entries import desired_vip, merged, text_of, vip_entry
from xdplb.control.state.generations import Generations, stamp
from xdplb.control.state.store_copy import NO_COPY, Digest, StoreCopy
from xdplb.control.state.written import HEAD, settings_of_head, written
from xdplb.model.errors import XdplbError
from xdplb.model.key import VipKey

NOW = datetime(2030, 1, 1, 12, 30, 15, 250000, tzinfo=UTC)
LATER = datetime(2030, 1, 1, 12, 31, tzinfo=UTC)


class Node:
    """The state of a balancer, without its maps."""

    def __init__(self) -> None:
        self.desired, self.generations, self.copy = Desired(), Generations(), NO_COPY

    def take(self, news: News) -> None:
        made = joined(self.desired, self.generations, self.copy, news, now=LATER)
        self.desired, self.generations, self.copy = made.desired, made.generations, made.copy

    def shared(self) -> tuple[Desired, Generations, str]:
        """What must be equal everywhere: all but when drains began."""
        return _timeless(self.desired), self.generations, str(self.copy.digest)


class Shared:
    """A store as its entries."""

    def __init__(self) -> None:
        self.head: dict[str, Any] = {}
        self.entries: dict[str, dict[str, Any]] = {}

    def write(self, node: Node, after: Desired) -> News:
        """Write a node's change, and return it as the others get it."""
        generation = node.generations.current + 1
        made = written(node.desired, after, generation, node.copy)
        head = json.loads(json.dumps(made.head(node.copy, "lineage", generation, {"writer": "lb1"})))
        puts = json.loads(json.dumps(made.puts))
        for path in made.deletes:
            del self.entries[path]
        self.entries |= puts
        self.head = head
        node.generations = stamp(node.desired, after, node.generations)
        node.desired, node.copy = after, StoreCopy("lineage", generation, made.digest, head, made.odd)
        return News(head, puts, made.deletes)

    def digest(self) -> str:
        digest = Digest().changed(HEAD, None, settings_of_head(self.head))
        for path, entry in self.entries.items():
            digest = digest.changed(path, None, entry)
        return str(digest)


def _timeless(desired: Desired) -> Desired:
    vips = {}
    for key, vip in desired.vips.items():
        backends = {
            address: replace(each, drain=None if each.drain is None else replace(each.drain, started=NOW))
            for address, each in vip.backends.items()
        }
        vips[key] = replace(vip, backends=backends)
    return replace(desired, vips=vips)


@settings(max_examples=150, deadline=None)
@given(st.lists(any_edit, min_size=3, max_size=14), st.integers(0, 1 << 32))
def test_what_one_writes_all_read(asked, seed):
    chance = random.Random(seed)
    shared, writer, follower = Shared(), Node(), Node()
    for edit in asked:
        try:
            after = apply_edit(writer.desired, edit, NOW)
        except XdplbError:
            continue
        if after is writer.desired:
            continue
        follower.take(shared.write(writer, after))
        assert follower.shared() == writer.shared()
        assert str(writer.copy.digest) == shared.digest() == shared.head["digest"]
        assert not writer.copy.odd
        assert not follower.copy.odd
        again = news_of_all(*_of(follower), shared.head, shared.entries)
        assert not again.puts
        assert not again.deletes
    if not shared.head:
        return
    late = Node()
    paths = list(shared.entries)
    chance.shuffle(paths)
    entries = {path: shared.entries[path] for path in paths}
    late.take(news_of_all(*_of(late), shared.head, entries))
    assert late.shared() == writer.shared()
    same = news_of_all(*_of(late), shared.head, entries)
    assert not same.puts
    assert not same.deletes


def _of(node: Node) -> tuple[Desired, Generations, StoreCopy]:
    return node.desired, node.generations, node.copy


@settings(max_examples=100, deadline=None)
@given(st.lists(any_edit, min_size=2, max_size=8), st.lists(any_edit, min_size=2, max_size=8))
def test_digests_are_equal_if_and_only_if_the_states_are(one_asked, other_asked):
    nodes = []
    for asked in (one_asked, other_asked):
        shared, node = Shared(), Node()
        for edit in (*asked,):
            try:
                after = apply_edit(node.desired, edit, NOW)
            except XdplbError:
                continue
            shared.write(node, after)
        nodes.append(node)
    one, other = nodes
    if NO_COPY not in (one.copy, other.copy):
        assert (str(one.copy.digest) == str(other.copy.digest)) == (_timeless(one.desired) == _timeless(other.desired))


def test_new_fields_of_parts_of_a_vip_are_passed_over_and_kept():
    key = VipKey.parse("203.0.113.10:443/tcp")
    dns = {"name": "www.example.test", "zone": "example.test", "server": "192.0.2.53", "key_file": "/k", "ttl": 60}
    entry = {
        "limits": {"packets": 5, "later": 1},
        "dns": {**dns, "later": 2},
        "checks": [{"type": "tcp", "target": "backend", "later": 3}],
    }
    vip = desired_vip(key, entry, None)
    assert vip.vip.dns is not None
    assert (vip.vip.limits.packets, vip.vip.dns.name, len(vip.checks)) == (5, "www.example.test", 1)
    before = vip_entry(vip)
    after = {**before, "name": "web"}
    assert merged(entry, before, after) == {**entry, "name": "web"}


@settings(max_examples=60, deadline=None)
@given(st.lists(any_edit, min_size=4, max_size=12), st.integers(0, 1 << 32))
def test_what_a_newer_version_writes_is_kept_by_an_older_one(asked, seed):
    """Every entry gets fields that nobody here knows, and changes by this version leave them in it."""
    chance = random.Random(seed)
    shared, writer = Shared(), Node()
    for edit in asked:
        try:
            after = apply_edit(writer.desired, edit, NOW)
        except XdplbError:
            continue
        if after is writer.desired:
            continue
        shared.write(writer, after)
        if shared.entries and chance.random() < 0.5:
            path = chance.choice(sorted(shared.entries))
            shared.entries[path] = {**shared.entries[path], "from_later": {"a": chance.randint(0, 9)}}
            digest = shared.digest()
            shared.head = {**shared.head, "digest": digest, "later": 1}
            writer.take(News(shared.head, {path: shared.entries[path]}, ()))
        assert str(writer.copy.digest) == shared.digest()
        odd = {path: text_of(each.value or {}) for path, each in writer.copy.odd.items()}
        assert odd == {path: text_of(entry) for path, entry in shared.entries.items() if "from_later" in entry}
        assert not writer.copy.refused()
    late = Node()
    if shared.head:
        late.take(news_of_all(*_of(late), shared.head, shared.entries))
        assert late.shared() == writer.shared()
