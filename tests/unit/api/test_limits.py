# SPDX-License-Identifier: Apache-2.0
"""Limits of the API that the configuration sets while it runs."""

from __future__ import annotations

from xdplb.model.config import ApiSettings
from xdplb_api.limits import Limits


def test_what_is_set_counts_instead_of_the_option_and_what_is_not_does_not() -> None:
    told = Limits(connections=100, requests=4, body_bytes=8 << 20)
    limits = Limits()
    limits.become(told.under(ApiSettings(connections=5000, head_timeout_seconds=3.0, max_body_mib=2), 900))
    assert limits == Limits(connections=900, requests=4, head_seconds=3.0, body_bytes=2 << 20)
    limits.become(told.under(ApiSettings(), 900))
    assert limits == told
