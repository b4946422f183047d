# SPDX-License-Identifier: Apache-2.0
"""The OpenAPI document says all there is: every route, every problem, every field."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest

from tests.contract.api_harness import VERSION, running_api

OPERATIONS = {
    "GET /v1/config": "getConfig",
    "PUT /v1/config": "putConfig",
    "POST /v1/config/reload": "reloadConfig",
    "GET /v1/config/overlay": "getOverlay",
    "DELETE /v1/config/overlay": "clearOverlay",
    "DELETE /v1/vips/{vip}/backends/{address}/overlay": "clearBackendOverlay",
    "POST /v1/changes": "makeChanges",
    "GET /v1/backends": "listAllBackends",
    "GET /v1/vips": "listVips",
    "POST /v1/vips": "createVip",
    "GET /v1/vips/{vip}": "getVip",
    "PUT /v1/vips/{vip}": "putVip",
    "PATCH /v1/vips/{vip}": "patchVip",
    "DELETE /v1/vips/{vip}": "deleteVip",
    "GET /v1/vips/{vip}/backends": "listBackends",
    "POST /v1/vips/{vip}/backends": "createBackend",
    "PUT /v1/vips/{vip}/backends": "replaceBackends",
    "GET /v1/vips/{vip}/backends/{address}": "getBackend",
    "PUT /v1/vips/{vip}/backends/{address}": "putBackend",
    "PATCH /v1/vips/{vip}/backends/{address}": "patchBackend",
    "DELETE /v1/vips/{vip}/backends/{address}": "deleteBackend",
    "GET /v1/vips/{vip}/backends/{address}/drain": "getDrain",
    "POST /v1/vips/{vip}/backends/{address}/drain": "drainBackend",
    "DELETE /v1/vips/{vip}/backends/{address}/drain": "undrainBackend",
    "GET /v1/checks": "listAllChecks",
    "GET /v1/vips/{vip}/checks": "getChecks",
    "PUT /v1/vips/{vip}/checks": "putChecks",
    "DELETE /v1/vips/{vip}/checks": "deleteChecks",
    "POST /v1/vips/{vip}/probe": "probe",
    "POST /v1/vips/{vip}/backends/{address}/probe": "probeBackend",
    "GET /v1/vips/{vip}/health-check": "getHealthCheck",
    "PUT /v1/vips/{vip}/health-check": "putHealthCheck",
    "DELETE /v1/vips/{vip}/health-check": "deleteHealthCheck",
    "GET /v1/vips/{vip}/access": "getAccess",
    "PUT /v1/vips/{vip}/access": "putAccess",
    "PATCH /v1/vips/{vip}/access": "patchAccess",
    "DELETE /v1/vips/{vip}/access": "deleteAccess",
    "GET /v1/vips/{vip}/stats": "getVipStats",
    "GET /v1/stats": "getStats",
    "GET /v1/explain": "explain",
    "GET /v1/backup": "getBackup",
    "GET /v1/capture": "capture",
    "GET /v1/dataplane": "getDataplane",
    "GET /v1/events": "listEvents",
    "GET /v1/status": "getStatus",
    "GET /v1/version": "getVersion",
    "GET /v1/records": "pullRecords",
    "GET /v1/nodes": "listNodes",
    "GET /v1/nodes/{name}": "getNode",
    "GET /v1/vips/{vip}/nodes": "listNodesOfVip",
    "POST /v1/nodes/{name}/drain": "drainNode",
    "DELETE /v1/nodes/{name}/drain": "undrainNode",
    "GET /v1/dns": "listDnsNames",
    "DELETE /v1/dns/nodes/{node}": "forgetNodeInDns",
    "GET /v1/tokens": "listTokens",
    "POST /v1/tokens": "addToken",
    "DELETE /v1/tokens/{name}": "removeToken",
    "GET /v1/whoami": "whoAmI",
    "GET /healthz": "getHealthz",
    "GET /readyz": "getReadyz",
    "GET /metrics": "getMetrics",
}
PROBLEM = {"$ref": "#/components/schemas/Problem"}


@pytest.fixture(scope="module")
def document() -> Iterator[Any]:
    with running_api() as api:
        yield api.client.get("/openapi.json").json()


def _operations(document: Any) -> Iterator[tuple[str, Any]]:
    for path, item in document["paths"].items():
        for method, operation in item.items():
            yield f"{method.upper()} {path}", operation


def test_it_has_these_operations_under_these_ids(document: Any):
    assert {name: operation["operationId"] for name, operation in _operations(document)} == OPERATIONS
    assert document["openapi"].startswith("3.1")
    assert document["info"]["version"] == VERSION


def test_every_operation_is_described_and_under_a_described_tag(document: Any):
    tags = {tag["name"] for tag in document["tags"] if tag["description"]}
    for name, operation in _operations(document):
        assert operation["summary"], name
        assert operation["description"], name
        assert len(operation["tags"]) == 1, name
        assert set(operation["tags"]) <= tags, name


def test_every_operation_says_which_role_it_needs_and_how_to_have_it(document: Any):
    assert set(document["components"]["securitySchemes"]) == {"token", "certificate"}
    for name, operation in _operations(document):
        role = operation["x-xdplb-role"]
        assert operation["security"] == [{}, {"token": [role]}, {"certificate": [role]}], name
        assert {"401", "403"} <= set(operation["responses"]), name


def test_every_refusal_is_a_problem(document: Any):
    for name, operation in _operations(document):
        refusals = {status: answer for status, answer in operation["responses"].items() if int(status) >= 400}
        assert "422" in refusals, name
        for status, answer in refusals.items():
            assert answer["content"] == {"application/problem+json": {"schema": PROBLEM}}, (name, status)
        if "{vip}" in name and not name.startswith("PUT /v1/vips/{vip} "):
            assert "404" in refusals or name == "PUT /v1/vips/{vip}", name
        if "requestBody" in operation:
            assert {"400", "413", "415"} <= set(refusals), name


def test_every_change_can_be_a_dry_run_and_all_but_creation_have_a_precondition(document: Any):
    for name, operation in _operations(document):
        parameters = {parameter["name"].lower() for parameter in operation.get("parameters", [])}
        if name == "POST /v1/config/reload":  # what it would do, a dry run of PUT /v1/config tells
            continue
        if name.endswith("/probe"):  # it changes nothing
            continue
        reads = name.startswith("GET ")
        assert ("dry_run" in parameters) is not reads, name
        conditional = (
            not reads
            and "/tokens" not in name
            and "/nodes" not in name  # of this host, and of no generation
            and (not name.startswith("POST ") or name.endswith(("/drain", "/changes")))
        )
        assert ("if-match" in parameters) is conditional, name
        assert ("412" in operation["responses"]) is conditional, name


def test_every_field_and_parameter_is_described(document: Any):
    schemas = document["components"]["schemas"]
    for schema_name, schema in schemas.items():
        assert schema.get("description"), schema_name
        for field_name, field in schema.get("properties", {}).items():
            referred = schemas.get(field.get("$ref", "").rpartition("/")[2], {})
            assert field.get("description") or referred.get("description"), f"{schema_name}.{field_name}"
    for name, operation in _operations(document):
        for parameter in operation.get("parameters", []):
            assert parameter.get("description"), f"{name} {parameter['name']}"


def test_every_reference_leads_somewhere(document: Any):
    wanted = set(re.findall(r"#/components/schemas/(\w+)", str(document)))
    assert wanted <= set(document["components"]["schemas"])
    assert "HTTPValidationError" not in document["components"]["schemas"]


def test_requests_refuse_unknown_fields_and_a_patch_is_a_merge_patch(document: Any):
    for name, operation in _operations(document):
        if "requestBody" not in operation:
            continue
        content = operation["requestBody"]["content"]
        names = re.findall(r"#/components/schemas/(\w+)", str(content))
        for schema in set(names):
            assert document["components"]["schemas"][schema]["additionalProperties"] is False, schema
        assert ("application/merge-patch+json" in content) is name.startswith("PATCH "), name


def test_the_page_for_people_is_served_and_the_document_says_what_it_needs(document: Any):
    with running_api() as api:
        assert document["info"]["version"] in api.client.get("/docs").text
    assert "needs no CDN" in document["info"]["description"]
