# SPDX-License-Identifier: Apache-2.0
"""The docs have every command, reason, field, route and kind of problem there is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from docs_pages.blocks import block, with_blocks
from docs_pages.pages import stale
from pydantic import BaseModel

from xdplb.dataplane.reasons import DECAP_REASONS, REASONS, Reason
from xdplb.model import errors
from xdplb.model.vip import Scheduler
from xdplb_api.schemas.access import AccessIn, AccessOut
from xdplb_api.schemas.backend import BackendIn, BackendOut, BackendStatusOut, DrainIn, DrainOut
from xdplb_api.schemas.certificate import CertificateOut, EndedByOut
from xdplb_api.schemas.explain import (
    DifferenceOut,
    ExplainOut,
    FlowRecordOut,
    NextHopOut,
    OuterOut,
    PacketOut,
    SentOut,
    SlotOut,
)
from xdplb_api.schemas.health_check import CheckResultOut, HealthCheckIn, HealthCheckOut, RecentOut
from xdplb_api.schemas.node import NodeDrainOut, NodeOfVipOut, NodeOut, NodesOfVipOut, SeenHealthOut
from xdplb_api.schemas.stats import StatsOut, VipStatsOut
from xdplb_api.schemas.system import FlowTableOut
from xdplb_api.schemas.vip import LimitsIn, QuicIn, SlotsOut, VipIn, VipOut, VipStatusOut

DOCS = Path(__file__).parents[2] / "docs"
PAGES = [page.read_text(encoding="utf-8") for page in sorted((DOCS / "reference").glob("*.md"))]
SCHEMAS = {
    "A VIP": (VipIn, VipOut, VipStatusOut, SlotsOut, QuicIn, LimitsIn),
    "An access list": (AccessIn, AccessOut),
    "A backend": (BackendIn, BackendOut, BackendStatusOut, DrainIn, DrainOut),
    "A certificate of a drain": (CertificateOut, EndedByOut),
    "Nodes": (NodeOut, NodeDrainOut, NodesOfVipOut, NodeOfVipOut, SeenHealthOut),
    "Explaining a packet": (
        ExplainOut,
        PacketOut,
        SlotOut,
        FlowRecordOut,
        SentOut,
        OuterOut,
        NextHopOut,
        DifferenceOut,
    ),
    "A health check": (HealthCheckIn, HealthCheckOut, CheckResultOut, RecentOut),
}


def section(heading: str) -> str:
    """Return what is below a heading, up to the next one."""
    below = re.compile(rf"^#+ {re.escape(heading)}$(.*?)(?=^#|\Z)", re.MULTILINE | re.DOTALL)
    found = [match[1] for page in PAGES for match in below.finditer(page)]
    assert len(found) == 1, heading
    return found[0]


def row(table: str, first: str) -> str:
    """Return the row of a table that begins with this."""
    return next((line for line in table.splitlines() if line.startswith(first)), "")


def words(text: str) -> set[str]:
    """Return what is in code spans, each also by its last part: `status.health` has `health`."""
    spans = set(re.findall(r"`([^`]+)`", text))
    return spans | {span.rpartition(".")[2] for span in spans}


def test_what_is_made_from_the_code_is_not_stale():
    assert not stale(), "run scripts/docs"


def test_a_made_part_that_is_changed_or_missing_is_found():
    page = block("a", "one")
    assert with_blocks(page, {"a": "two"}) == block("a", "two")
    with pytest.raises(ValueError, match=r"marks to add: .*b"):
        with_blocks(page, {"a": "one", "b": "new"})


@pytest.mark.parametrize("reason", REASONS, ids=lambda reason: reason.name)
def test_every_reason_is_explained(reason: Reason):
    action, _, name = reason.name.partition("_")
    told = row(section("Why a packet was passed or dropped"), f"| {action} | `{name}` |")
    meaning, remedy = told.strip("| ").split(" | ")[2:4]
    assert len(meaning) > 10
    assert len(remedy) >= len("nothing")


@pytest.mark.parametrize("reason", DECAP_REASONS, ids=lambda reason: reason.name)
def test_every_count_of_decap_is_explained(reason: Reason):
    page = (DOCS / "tunnels.md").read_text(encoding="utf-8")
    assert row(page, f"| `{reason.name.replace('_', ' ')}` |")


def test_a_reason_that_is_not_explained_would_be_found():
    missing = Reason(99, "drop_moon_phase", "")
    assert not row(section("Why a packet was passed or dropped"), f"| drop | `{missing.name.removeprefix('drop_')}` |")


@pytest.mark.parametrize("heading", SCHEMAS)
def test_every_field_is_there(heading: str):
    fields = {name for schema in SCHEMAS[heading] for name in schema.model_fields}
    assert not fields - words(section(heading)) - {"status"}


@pytest.mark.parametrize(
    ("heading", "schema"), [("A VIP", VipIn), ("A backend", BackendIn), ("A health check", HealthCheckIn)]
)
def test_every_default_is_told(heading: str, schema: type[VipIn | BackendIn | HealthCheckIn]):
    told = section(heading)
    for name, field in schema.model_fields.items():
        if field.is_required() or field.default is None or name == "target" or isinstance(field.default, BaseModel):
            continue
        values = row(told, f"| `{name}` |").split(" | ")[1]
        default = f"{field.default:g}" if isinstance(field.default, (int, float)) else str(field.default)
        if isinstance(field.default, bool):
            default = str(field.default).lower()
        assert default in values.rpartition("(")[2], name


@pytest.mark.parametrize("scheduler", Scheduler)
def test_every_scheduler_is_explained(scheduler: Scheduler):
    assert row(section("Schedulers"), f"| `{scheduler}` |")


def test_every_counter_is_there():
    fields = {*StatsOut.model_fields, *VipStatsOut.model_fields} - {"vips", "vip", "backends"}
    assert not fields - words(section("Counters"))
    assert not set(FlowTableOut.model_fields) - words(section("Counters"))


def test_every_kind_of_problem_is_there():
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.XdplbError)]
    assert len(kinds) > 5
    told = words(section("Routes"))
    assert not {kind.code for kind in kinds} - told


def test_every_exit_code_is_there():
    codes = {line.split(" | ")[0].strip("| ") for line in section("Commands").splitlines() if re.match(r"\| \d", line)}
    assert codes == set("012345")
