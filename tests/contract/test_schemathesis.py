# SPDX-License-Identifier: Apache-2.0
"""What the OpenAPI document says is what the API does: schemathesis makes requests from it and checks the answers."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import Case, GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.config import SchemathesisConfig
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)

from tests.contract.api_harness import VERSION, Api, running_api
from xdplb_api.app import create_app

EXAMPLES = int(os.environ.get("XDPLB_SCHEMATHESIS_EXAMPLES", "1"))
"""Of each operation, right ones and wrong ones."""
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    negative_data_rejection,
    unsupported_method,
]
"""Not `positive_data_acceptance`: no schema can say that the last port of a range is not below the first."""


@pytest.fixture(scope="module")
def api() -> Iterator[Api]:
    with running_api() as running:
        yield running


# What is wrong in two ways may be refused for either, such as for an ETag that is none: 412.
CONFIG = SchemathesisConfig.from_dict({"checks": {"negative_data_rejection": {"expected-statuses": ["4xx", "503"]}}})
schema = schemathesis.openapi.from_dict(create_app(None, version=VERSION).openapi(), config=CONFIG)  # type: ignore[arg-type]
STREAMS = {"/v1/capture", "/v1/events"}
"""What streams for as long as it is read."""
LARGE = set() if "XDPLB_SCHEMATHESIS_EXAMPLES" in os.environ else {"/v1/changes", "/v1/config"}
"""What it takes schemathesis many seconds to make a body of. Its parts are made for the other paths."""
OPERATIONS = [
    result.ok()
    for result in schema.get_all_operations()
    if isinstance(result, Ok) and result.ok().path not in STREAMS | LARGE
]


@pytest.mark.parametrize("mode", GenerationMode)
@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.label)
def test_the_api_does_as_its_document_says(api: Api, operation: Any, mode: GenerationMode) -> None:
    @settings(max_examples=EXAMPLES, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(case=operation.as_strategy(generation_mode=mode))
    def check(case: Case) -> None:
        case.headers["Xdplb-Client"] = "tests"
        case.call_and_validate(app=api.client.app, base_url="http://localhost", checks=CHECKS)

    with suppress(Unsatisfiable):  # where there is nothing to say, nothing can be said wrongly
        check()
