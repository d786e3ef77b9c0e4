"""The OpenAPI document is kept: whatever is sent, the answer is described and never a 5xx."""

import hashlib
from typing import Any

import msgspec
import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import response_schema_conformance, status_code_conformance

from controlplane.app import create
from controlplane.health import Monitor, Probes
from helix.adapters import fakes
from helix.client.wire import Refused
from helix.ports import Credential
from helix.settings import Http, Settings
from helix.topology.catalog import CATALOG

EXAMPLES_MAX = 25
OPEN = {"/livez"}
KEY = "all"
CREDENTIAL = Credential("k", "acme", frozenset({"admin"}))

world = fakes.world({hashlib.sha256(KEY.encode()).hexdigest(): CREDENTIAL})
unlimited = msgspec.structs.replace(Settings(), http=Http(requests_per_min_max=1_000_000))
app = create(world, unlimited, CATALOG, Monitor([], world.clock, Probes()))
schema = schemathesis.openapi.from_asgi("/schema/openapi.json", app)


@schema.parametrize()  # pyright: ignore[reportUntypedFunctionDecorator] - ships no types for it
@settings(
    max_examples=EXAMPLES_MAX,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow],
)
def test_nothing_that_is_sent_makes_the_server_fail(case: Any) -> None:
    response = case.call_and_validate(
        headers={"Authorization": f"Bearer {KEY}"},
        checks=[not_a_server_error, response_schema_conformance, status_code_conformance],
    )

    assert response.status_code != 422
    if response.status_code >= 400:
        assert msgspec.json.decode(response.content, type=Refused).error.code


@pytest.mark.parametrize("path", ["/v1/context/replay", "/v1/conversations", "/health"])
def test_the_document_describes(path: str) -> None:
    assert path in schema.raw_schema["paths"]


def test_every_operation_has_a_name_of_its_own() -> None:
    names = [told["operationId"] for item in paths().values() for told in item.values()]

    assert len(set(names)) == len(names)


def test_every_operation_says_how_it_refuses() -> None:
    for path, item in paths().items():
        for method, told in item.items():
            refusals = {status for status in told["responses"] if status >= "400"}
            assert refusals or path in OPEN, f"{method} {path}"
            for status in refusals:
                (content,) = told["responses"][status]["content"].values()
                assert content["schema"]["$ref"].endswith("Refused"), f"{method} {path} {status}"


def test_a_batch_is_described_by_its_events() -> None:
    body = paths()["/v1/events/batch"]["post"]["requestBody"]["content"]["application/json"]

    assert body["schema"]["type"] == "array"
    assert len(body["schema"]["items"]["oneOf"]) == 5


def paths() -> dict[str, Any]:
    return schema.raw_schema["paths"]
