# SPDX-License-Identifier: Apache-2.0
"""Roles: each includes those before it."""

from __future__ import annotations

from xdplb.model.role import Role


def test_each_role_includes_those_before_it() -> None:
    included = {role: [other for other in Role if role.includes(other)] for role in Role}
    assert included == {
        Role.READ: [Role.READ],
        Role.OPERATE: [Role.READ, Role.OPERATE],
        Role.ADMIN: [Role.READ, Role.OPERATE, Role.ADMIN],
    }
