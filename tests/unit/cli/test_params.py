# SPDX-License-Identifier: Apache-2.0
"""Lengths of time and VIPs, as people write them."""

from __future__ import annotations

import click
import pytest

from xdplb.cli.params import duration, duration_text
from xdplb.client import backend_path, vip_path
from xdplb.model.errors import InvalidError


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("10m", 600), ("30s", 30), ("500ms", 0.5), ("1h30m", 5400), ("1.5s", 1.5), ("7", 7), ("1d", 86400)],
)
def test_a_duration_is_read(text: str, seconds: float):
    assert duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "soon", "10 m", "-3s", "10x", "m", "1s2", "1e3"])
def test_what_is_no_duration_is_refused_with_an_example(text: str):
    with pytest.raises(click.BadParameter, match="500ms, 30s, 10m"):
        duration(text)


@pytest.mark.parametrize("text", ["500ms", "1.5s", "30s", "10m", "1h30m", "1d", "0s"])
def test_a_duration_is_written_as_it_is_read(text: str):
    assert duration_text(duration(text)) == text


@pytest.mark.parametrize("vip", ["203.0.113.10:443/tcp", "203.0.113.10:443:tcp", "203.0.113.10:443/TCP"])
def test_every_spelling_of_a_vip_is_one_path(vip: str):
    assert vip_path(vip) == "/v1/vips/203.0.113.10:443:tcp"


@pytest.mark.parametrize(
    ("vip", "path"),
    [
        ("[2001:db8::10]:443/udp", "%5B2001:db8::10%5D:443:udp"),
        ("203.0.113.0/24:8000-8999/tcp", "203.0.113.0_24:8000-8999:tcp"),
        ("[2001:DB8::]:0/tcp", "%5B2001:db8::%5D:0:tcp"),
        ("203.0.113.10:1-65535/tcp+udp", "203.0.113.10:0:tcp%2Budp"),
        ("203.0.113.10/32:53-53/udp", "203.0.113.10:53:udp"),
    ],
)
def test_a_vip_of_any_kind_has_a_path(vip: str, path: str):
    assert vip_path(vip) == f"/v1/vips/{path}"


def test_a_vip_goes_by_its_name_too():
    assert backend_path("web", "10.0.0.11", "drain") == "/v1/vips/web/backends/10.0.0.11/drain"


def test_a_name_cannot_climb_out_of_its_path():
    assert vip_path("%2f x?y#z") == "/v1/vips/%252f%20x%3Fy%23z"
    with pytest.raises(InvalidError):
        vip_path("..")


@pytest.mark.parametrize(
    "vip",
    [
        "203.0.113.10:70000/tcp",
        "203.0.113.10/tcp",
        "2001:db8::1:443/tcp",
        "203.0.113.9/24:80/tcp",
        "203.0.113.10:443/icmp",
        "1.2.3:4/tcp",
    ],
)
def test_what_is_no_vip_is_refused_before_anything_is_sent(vip: str):
    with pytest.raises(InvalidError):
        vip_path(vip)
