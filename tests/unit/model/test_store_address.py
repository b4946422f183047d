# SPDX-License-Identifier: Apache-2.0
"""The address of the store that balancers share, as it is given to `xdplb up`."""

from __future__ import annotations

from pathlib import Path

import pytest

from xdplb.model.errors import InvalidError
from xdplb.model.store_address import StoreAccess, StoreAddress


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("etcd://10.0.0.1:2379/xdplb", "etcd://10.0.0.1:2379/xdplb"),
        ("etcd://10.0.0.1", "etcd://10.0.0.1:2379/xdplb"),
        ("etcd://10.0.0.1/", "etcd://10.0.0.1:2379/xdplb"),
    ],
)
def test_an_address(text, told):
    assert str(StoreAddress.parse(text)) == told


def test_several_members():
    address = StoreAddress.parse("etcds://a.example,b.example:4,[2001:DB8:0::1],[::1]:5/site/a/")
    assert address.members == ("a.example:2379", "b.example:4", "[2001:db8::1]:2379", "[::1]:5")
    assert address.urls[2] == "https://[2001:db8::1]:2379"
    assert (address.prefix, address.tls) == ("/site/a", True)
    assert StoreAddress.parse(str(address)) == address


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("10.0.0.1:2379", "is not the address of a store"),
        ("http://10.0.0.1:2379", "is not the address of a store"),
        ("etcd://", "'' is not a host"),
        ("etcd:///x", "'' is not a host"),
        ("etcd://a,,b", "'' is not a host"),
        ("etcd://me:secret@a/x", "has a user in it"),
        ("etcd://a:0", "'0' is not a port"),
        ("etcd://a:080", "'080' is not a port"),
        ("etcd://a:65536", "'65536' is not a port"),
        ("etcd://a:", "'' is not a port"),
        ("etcd://2001:db8::1", "is not a member of a store"),
        ("etcd://[2001:db8::g]", "is not an IPv6 address"),
        ("etcd://a b", "'a b' is not a host"),
        ("etcd://a,b,a:2379", "a:2379 is named 2 times"),
        ("etcd://a//x", "is not a prefix"),
        ("etcd://a/x y", "is not a prefix"),
        ("etcd://a/../x\n", "is not a prefix"),
        (f"etcd://a/{'x' * 300}", "is not a prefix"),
    ],
)
def test_what_is_no_address(text, said):
    with pytest.raises(InvalidError) as caught:
        StoreAddress.parse(text)
    assert said in caught.value.detail
    assert "secret" not in str(caught.value)
    assert caught.value.hint


@pytest.mark.parametrize(
    ("text", "access", "said"),
    [
        ("etcd://a", StoreAccess(ca=Path("ca")), "etcds://a:2379/xdplb"),
        ("etcds://a", StoreAccess(cert=Path("cert")), "give both or neither"),
        ("etcds://a", StoreAccess(key=Path("key")), "give both or neither"),
        ("etcd://a", StoreAccess(user="lb"), "give both or neither"),
        ("etcd://a", StoreAccess(password_file=Path("p")), "give both or neither"),
        ("etcd://a", StoreAccess(user="", password_file=Path("p")), "give the name of a user"),
    ],
)
def test_options_that_do_not_go_together(text, access, said):
    with pytest.raises(InvalidError) as caught:
        access.check(StoreAddress.parse(text))
    assert said in caught.value.hint


def test_options_that_go_together():
    StoreAccess(Path("ca"), Path("cert"), Path("key"), "lb", Path("p")).check(StoreAddress.parse("etcds://a"))
    StoreAccess(user="lb", password_file=Path("p")).check(StoreAddress.parse("etcd://a"))
