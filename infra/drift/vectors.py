"""Collections of vectors as the catalogue has them against Qdrant's."""

from collections.abc import Iterable
from typing import Any

import httpx

from helix.adapters import trust
from helix.adapters.qdrant import ANSWER_S_MAX, DENSE, SERVICE, SPARSE
from helix.errors import UnavailableError
from helix.settings import Settings
from helix.topology.catalog import CATALOG
from helix.topology.model import Collection
from infra.drift.model import Cure, Cures, Drift, Kind, compared

DENSE_PART, SPARSE_PART = f"vector {DENSE}", f"sparse vector {SPARSE}"
NOT_FOUND = 404
TENANT_PART = "payload index tenant"
CURES = Cures(
    missing=Cure.BOOTSTRAP,
    differing=Cure.BOOTSTRAP,
    parts={DENSE_PART: Cure.MOVE, SPARSE_PART: Cure.MOVE},
)


def look(settings: Settings) -> list[Drift]:
    """What differs; collections that the catalogue does not name are left alone."""
    names = [collection.name for collection in CATALOG.collections]
    store = settings.qdrant
    try:
        with httpx.Client(
            base_url=f"{trust.scheme(store.ca)}://{store.host}:{store.port}",
            headers={"api-key": store.password.reveal()},
            timeout=ANSWER_S_MAX,
            verify=trust.verified(store.ca),
        ) as client:
            asked = {name: client.get(f"/collections/{name}") for name in names}
            live = {name: _read(answer) for name, answer in asked.items() if _is_there(answer)}
    except httpx.HTTPError as error:
        raise UnavailableError(
            SERVICE, f"`{SERVICE}` is unavailable: {trust.told(error)}"
        ) from error
    return compared(Kind.INDEX, declared(CATALOG.collections), live, CURES, store=SERVICE)


def declared(collections: Iterable[Collection]) -> dict[str, dict[str, str]]:
    """What bootstrap makes."""
    return {
        one.name: {
            DENSE_PART: f"{one.dimensions} Cosine",
            SPARSE_PART: "idf",
            TENANT_PART: "keyword",
        }
        for one in collections
    }


def described(info: dict[str, Any]) -> dict[str, str]:
    """What Qdrant says of a collection, by part."""
    params = info["config"]["params"]
    dense, sparse = params.get("vectors") or {}, params.get("sparse_vectors") or {}
    return {
        **{f"vector {name}": f"{one['size']} {one['distance']}" for name, one in dense.items()},
        **{f"sparse vector {name}": str(one.get("modifier")) for name, one in sparse.items()},
        **{
            f"payload index {name}": str(one["data_type"])
            for name, one in info["payload_schema"].items()
        },
    }


def _is_there(answer: httpx.Response) -> bool:
    if answer.status_code == NOT_FOUND:
        return False
    answer.raise_for_status()
    return True


def _read(answer: httpx.Response) -> dict[str, str]:
    return described(answer.json()["result"])
