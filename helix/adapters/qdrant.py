"""Vectors in Qdrant: the collections."""

import contextlib
from collections.abc import Iterable

import httpx
from qdrant_client import QdrantClient, models
from qdrant_client.http.exceptions import ApiException

from helix.adapters import trust
from helix.errors import UnavailableError
from helix.settings import Qdrant
from helix.topology.model import Collection

SERVICE = "qdrant"
ANSWER_S_MAX = 10
DENSE = "dense"
SPARSE = "bm25"


def ensure(settings: Qdrant, collections: Iterable[Collection]) -> list[str]:
    """What was changed so that every collection is there, its points indexed by tenant."""
    made: list[str] = []
    client = QdrantClient(
        url=f"{trust.scheme(settings.ca)}://{settings.host}:{settings.port}",
        headers={"api-key": settings.password.reveal()},  # `api_key=` warns where TLS is elsewhere
        timeout=ANSWER_S_MAX,
        verify=trust.verified(settings.ca),
        prefer_grpc=False,
        check_compatibility=False,  # its warning names a version; the catalogue pins both
    )
    with contextlib.closing(client):
        try:
            for collection in collections:
                if not client.collection_exists(collection.name):
                    _create(client, collection)
                    made.append(f"created {collection.name}")
                client.create_payload_index(
                    collection.name, "tenant", models.PayloadSchemaType.KEYWORD
                )
        except (ApiException, httpx.HTTPError) as error:
            raise UnavailableError(
                SERVICE, f"`{SERVICE}` is unavailable: {trust.told(error)}"
            ) from error
    return made


def _create(client: QdrantClient, collection: Collection) -> None:
    client.create_collection(
        collection.name,
        vectors_config={
            DENSE: models.VectorParams(size=collection.dimensions, distance=models.Distance.COSINE)
        },
        sparse_vectors_config={SPARSE: models.SparseVectorParams(modifier=models.Modifier.IDF)},
    )
