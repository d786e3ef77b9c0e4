"""Qdrant's engine behind its REST interface, asked by Qdrant's own client."""

import contextlib
import json
import random
import signal
import socket
import subprocess
import sys
from collections.abc import Generator, Iterator
from pathlib import Path

import httpx
import pytest
from qdrant_client import QdrantClient, models
from qdrant_client.http.exceptions import UnexpectedResponse

from helix.adapters import qdrant
from helix.settings import Qdrant, Secret
from helix.topology.catalog import CATALOG
from tests.tree import ROOT
from tests.waiting import until

pytestmark = [pytest.mark.integration, pytest.mark.enable_socket]

KEY = "a-key"
START_S_MAX = 20
STOP_S_MAX = 15
BUILD_S_MAX = 20
SIZE = 8
INDEX_POINTS_MIN = 400


class Engine:
    """One engine with its folder; it may be ended and started again."""

    def __init__(self, folder: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.data = folder / "data"
        self._config = folder / "qdrant.json"
        self._config.write_text(
            json.dumps(
                {
                    "host": "127.0.0.1",
                    "port": self.port,
                    "data": str(self.data),
                    "api_key": KEY,
                    "index_points_min": INDEX_POINTS_MIN,
                }
            )
        )
        self.process = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        argv = [sys.executable, "-m", "infra.engines.qdrant", str(self._config)]
        process = subprocess.Popen(argv, cwd=ROOT)
        until(self._answers, s_max=START_S_MAX, what="the engine answers")
        return process

    def _answers(self) -> bool:
        try:
            return httpx.get(f"{self.url}/readyz").is_success
        except httpx.TransportError:
            return False

    def end(self, how: signal.Signals) -> int:
        self.process.send_signal(how)
        return self.process.wait(STOP_S_MAX)

    def restart(self, how: signal.Signals = signal.SIGTERM) -> None:
        self.end(how)
        self.process = self._start()


@contextlib.contextmanager
def running(folder: Path) -> Generator[Engine]:
    engine = Engine(folder)
    try:
        yield engine
    finally:
        engine.end(signal.SIGKILL)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """An engine for the tests that do not end it."""
    with running(tmp_path_factory.mktemp("qdrant")) as engine:
        yield engine


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Engine]:
    """An engine for one test alone."""
    with running(tmp_path) as engine:
        yield engine


def connect(engine: Engine) -> QdrantClient:
    return QdrantClient(
        url=engine.url,
        headers={"api-key": KEY},
        prefer_grpc=False,
        timeout=30,
        check_compatibility=False,
    )


@pytest.fixture
def client(shared: Engine) -> Iterator[QdrantClient]:
    """The engine of all with one collection of twenty points, `n`."""
    with contextlib.closing(connect(shared)) as client:
        for name in [found.name for found in client.get_collections().collections]:
            client.delete_collection(name)
        fill(client, "n", 20)
        yield client


def fill(client: QdrantClient, name: str, count: int) -> None:
    client.create_collection(
        name,
        vectors_config={"dense": models.VectorParams(size=SIZE, distance=models.Distance.EUCLID)},
        sparse_vectors_config={"words": models.SparseVectorParams(modifier=models.Modifier.IDF)},
    )
    client.create_payload_index(name, "tenant", models.PayloadSchemaType.KEYWORD)
    client.create_payload_index(
        name, "n", models.IntegerIndexParams(type=models.IntegerIndexType.INTEGER, range=True)
    )
    client.upsert(name, [point(n) for n in range(count)])


def near(n: float) -> list[float]:
    return [float(n)] * SIZE


def point(n: int) -> models.PointStruct:
    return models.PointStruct(
        id=n,
        vector={"dense": near(n), "words": models.SparseVector(indices=[n, 99], values=[1.0, 0.1])},
        payload={"tenant": f"t{n % 2}", "n": n},
    )


def tenant(name: str) -> models.Filter:
    return models.Filter(
        must=[models.FieldCondition(key="tenant", match=models.MatchValue(value=name))]
    )


def status(failed: pytest.ExceptionInfo[UnexpectedResponse]) -> int | None:
    return failed.value.status_code


def test_the_nearest_points_come_first(client: QdrantClient) -> None:
    found = client.query_points("n", query=near(7.2), using="dense", limit=3).points

    assert [hit.id for hit in found] == [7, 8, 6]


def test_a_filter_leaves_others_out(client: QdrantClient) -> None:
    found = client.query_points(
        "n", query=near(7.2), using="dense", limit=2, query_filter=tenant("t0")
    ).points

    assert [hit.id for hit in found] == [8, 6]


def test_dense_and_sparse_hits_are_fused_by_rank(client: QdrantClient) -> None:
    words = models.SparseVector(indices=[3], values=[1.0])
    found = client.query_points(
        "n",
        prefetch=[
            models.Prefetch(query=near(3.4), using="dense", limit=5),
            models.Prefetch(query=words, using="words", limit=5),
        ],
        query=models.FusionQuery(fusion=models.Fusion.RRF),
        limit=2,
    ).points

    assert [hit.id for hit in found] == [3, 4]
    assert found[0].score > found[1].score


def test_a_query_by_id_leaves_that_point_out(client: QdrantClient) -> None:
    found = client.query_points("n", query=7, using="dense", limit=2).points

    assert {hit.id for hit in found} == {6, 8}


def test_groups_hold_the_best_of_each_with_the_payload_asked_for(client: QdrantClient) -> None:
    found = client.query_points_groups(
        "n",
        group_by="tenant",
        query=near(7.2),
        using="dense",
        limit=2,
        group_size=2,
        with_payload=["n"],
    ).groups

    assert [(group.id, [hit.payload for hit in group.hits]) for group in found] == [
        ("t1", [{"n": 7}, {"n": 9}]),
        ("t0", [{"n": 8}, {"n": 6}]),
    ]


def test_scrolling_visits_every_point_once(client: QdrantClient) -> None:
    seen: list[object] = []
    offset = None
    while True:
        page, offset = client.scroll("n", limit=6, offset=offset)
        seen += [record.id for record in page]
        if offset is None:
            break

    assert seen == list(range(20))


def test_scrolling_follows_an_indexed_field(client: QdrantClient) -> None:
    order = models.OrderBy(key="n", direction=models.Direction.DESC, start_from=4)
    page, _ = client.scroll("n", limit=3, order_by=order)

    assert [(record.id, record.order_value) for record in page] == [(4, 4), (3, 3), (2, 2)]


def test_points_are_counted_faceted_and_deleted_by_filter(client: QdrantClient) -> None:
    client.delete("n", models.FilterSelector(filter=tenant("t1")))

    assert client.count("n").count == 10
    assert [(hit.value, hit.count) for hit in client.facet("n", "tenant").hits] == [("t0", 10)]


def test_a_batch_of_changes_is_done_in_order(client: QdrantClient) -> None:
    client.batch_update_points(
        "n",
        [
            models.UpsertOperation(upsert=models.PointsList(points=[point(50)])),
            models.SetPayloadOperation(
                set_payload=models.SetPayload(payload={"seen": True}, points=[50])
            ),
            models.DeletePayloadOperation(
                delete_payload=models.DeletePayload(keys=["n"], points=[50])
            ),
        ],
    )

    assert client.retrieve("n", [50])[0].payload == {"tenant": "t0", "seen": True}


def test_a_vector_of_another_size_is_refused(client: QdrantClient) -> None:
    with pytest.raises(UnexpectedResponse, match="expected dim: 8, got 1") as failed:
        client.upsert("n", [models.PointStruct(id=1, vector={"dense": [1.0]})])

    assert status(failed) == 400


def test_an_unknown_collection_is_not_found(client: QdrantClient) -> None:
    with pytest.raises(UnexpectedResponse, match="Collection `absent`") as failed:
        client.query_points("absent", query=near(1))

    assert status(failed) == 404
    assert not client.collection_exists("absent")


def test_a_taken_name_is_a_conflict(client: QdrantClient) -> None:
    with pytest.raises(UnexpectedResponse, match="already exists") as failed:
        client.create_collection(
            "n", vectors_config=models.VectorParams(size=1, distance=models.Distance.DOT)
        )

    assert status(failed) == 409


def test_what_the_engine_lacks_is_refused_by_name(client: QdrantClient) -> None:
    with pytest.raises(UnexpectedResponse, match="`snapshots` is not served"):
        client.create_snapshot("n")
    with pytest.raises(UnexpectedResponse, match="`query formula` is not served"):
        client.query_points("n", query=models.FormulaQuery(formula="$score"))
    with pytest.raises(UnexpectedResponse, match="`shards` is not served"):
        client.create_shard_key("n", "key")


def test_the_key_is_asked_for_everywhere_but_for_health(shared: Engine) -> None:
    for path in ("/", "/healthz", "/readyz", "/livez"):
        assert httpx.get(shared.url + path).is_success
    for path in ("/collections", "/metrics", "/nowhere"):
        assert httpx.get(shared.url + path).status_code == 401
        assert httpx.get(shared.url + path, headers={"api-key": "wrong"}).status_code == 401
    for headers in ({"api-key": KEY}, {"authorization": f"Bearer {KEY}"}):
        assert httpx.get(shared.url + "/collections", headers=headers).is_success


def test_metrics_bear_the_servers_own_names(client: QdrantClient, shared: Engine) -> None:
    assert client.count("n").count == 20

    text = httpx.get(shared.url + "/metrics", headers={"api-key": KEY}).text

    assert 'app_info{name="qdrant",version="1.20.0"} 1.0' in text
    assert "collections_total 1.0" in text
    assert "collections_vector_total 40.0" in text
    assert 'collection_points{id="n"} 20.0' in text
    assert "rest_responses_total{" in text


def test_the_platform_makes_its_collections_once(shared: Engine, client: QdrantClient) -> None:
    settings = Qdrant(host="127.0.0.1", port=shared.port, password=Secret(KEY))

    first = qdrant.ensure(settings, CATALOG.collections)
    second = qdrant.ensure(settings, CATALOG.collections)

    assert len(first) == len(CATALOG.collections)
    assert second == []
    assert client.get_collection(CATALOG.collections[0].name).payload_schema["tenant"]


def test_everything_survives_a_restart(own: Engine) -> None:
    with contextlib.closing(connect(own)) as client:
        fill(client, "n", 20)
        client.update_collection_aliases(
            [
                models.CreateAliasOperation(
                    create_alias=models.CreateAlias(collection_name="n", alias_name="numbers")
                )
            ]
        )
        client.delete("n", models.PointIdsList(points=[3]))
        before = client.get_collection("n")

        own.restart()

        after = client.get_collection("numbers")
        assert after.config == before.config
        assert after.payload_schema == before.payload_schema
        assert set(after.payload_schema) == {"tenant", "n"}
        assert client.count("numbers").count == 19
        assert [alias.alias_name for alias in client.get_aliases().aliases] == ["numbers"]


def test_a_killed_engine_loses_no_acknowledged_point(own: Engine) -> None:
    with contextlib.closing(connect(own)) as client:
        fill(client, "n", 1)
        for start in range(0, 1000, 20):
            client.upsert("n", [point(n) for n in range(start, start + 20)])

        own.restart(signal.SIGKILL)

        assert client.count("n").count == 1000
        assert client.query_points("n", query=near(731), using="dense", limit=1).points[0].id == 731


def test_an_index_is_built_beside_reads_and_writes_without_losing_any(own: Engine) -> None:
    spread = random.Random(7)
    with contextlib.closing(connect(own)) as client:
        fill(client, "n", INDEX_POINTS_MIN)
        folders = {path.name for path in own.data.glob("shard-*")}
        written = INDEX_POINTS_MIN

        def is_built() -> bool:
            nonlocal written
            client.upsert("n", [point(written)])
            written += 1
            client.query_points("n", query=near(spread.random()), using="dense", limit=1)
            now = {path.name for path in own.data.glob("shard-*")}
            return len(now) == 1 and now != folders

        until(is_built, s_max=BUILD_S_MAX, what="the shard moved to its indexed copy")

        assert client.count("n").count == written
        own.restart()
        assert client.count("n").count == written
