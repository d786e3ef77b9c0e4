"""ClickHouse's engine behind its HTTP interface, asked by ClickHouse's own client."""

import contextlib
import datetime as dt
import json
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path
from typing import Any

import clickhouse_connect
import httpx
import pytest
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError, DatabaseError, StreamFailureError
from clickhouse_connect.driver.external import ExternalData

from tests.tree import ROOT
from tests.waiting import until

pytestmark = [pytest.mark.integration, pytest.mark.enable_socket]

PASSWORD = "a-password"
READER_PASSWORD = "another"
START_S_MAX = 30
STOP_S_MAX = 15
MIB = 1024 * 1024


class Engine:
    """One engine with its folder; it may be ended and started again."""

    def __init__(self, folder: Path) -> None:
        with (
            socket.create_server(("127.0.0.1", 0)) as free,
            socket.create_server(("127.0.0.1", 0)) as beside,
        ):
            self.port, figures = free.getsockname()[1], beside.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.figures = f"http://127.0.0.1:{figures}"
        self.log = folder / "log"
        self._config = folder / "clickhouse.json"
        self._config.write_text(
            json.dumps(
                {
                    "host": "127.0.0.1",
                    "port": self.port,
                    "metrics": {"host": "127.0.0.1", "port": figures},
                    "data": str(folder / "data"),
                    "memory_mib_max": 1500,
                    "threads": 8,
                    "users": [
                        {"name": "helix", "password": PASSWORD, "role": "admin"},
                        {"name": "reader", "password": READER_PASSWORD, "role": "reader"},
                    ],
                }
            )
        )
        self.process = self.start()

    def start(self) -> subprocess.Popen[bytes]:
        argv = [sys.executable, "-m", "infra.engines.clickhouse", str(self._config)]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(argv, cwd=ROOT, stdout=log, stderr=log)
        until(self._answers, s_max=START_S_MAX, what="the engine answers")
        return self.process

    def _answers(self) -> bool:
        assert self.process.poll() is None, self.log.read_text()
        try:
            return httpx.get(f"{self.url}/ping").text == "Ok.\n"
        except httpx.TransportError:
            return False

    def end(self, how: signal.Signals) -> int:
        self.process.send_signal(how)
        return self.process.wait(STOP_S_MAX)

    def client(self, user: str = "helix", **options: Any) -> Client:
        password = PASSWORD if user == "helix" else READER_PASSWORD
        return clickhouse_connect.get_client(
            host="127.0.0.1", port=self.port, username=user, password=password, **options
        )

    def ask(self, sql: str, **params: str) -> httpx.Response:
        """One request without the client between."""
        return httpx.post(
            self.url, params=params, content=sql, auth=("helix", PASSWORD), timeout=30
        )


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
    with running(tmp_path_factory.mktemp("clickhouse")) as engine:
        yield engine


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Engine]:
    """An engine for one test alone."""
    with running(tmp_path) as engine:
        yield engine


@pytest.fixture
def client(shared: Engine) -> Iterator[Client]:
    with contextlib.closing(shared.client()) as client:
        yield client


@pytest.fixture
def table(client: Client, request: pytest.FixtureRequest) -> str:
    """A table of its own for each test."""
    name = re.sub(r"\W", "_", request.node.name)
    client.command(
        f"CREATE TABLE {name} (id UInt64, text String) ENGINE = MergeTree ORDER BY id "
        "SETTINGS non_replicated_deduplication_window = 1000"
    )
    return name


def rows(client: Client, table: str) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in client.query(f"SELECT * FROM {table} ORDER BY ALL").result_rows]


def code_of(error: ClickHouseError) -> str:
    return str(error).split("code: ")[1].split(",")[0].split(" ")[0].rstrip(",.")


def test_rows_come_back_as_they_went_in(client: Client) -> None:
    row = (
        1,
        "naïve 日本 \t'\n\\",
        dt.datetime(2026, 1, 2, 3, 4, 5, 678901),  # noqa: DTZ001 - as the client answers
        {"a": 1},
        [1.5, 2.5],
        None,
        uuid.UUID(int=7),
        Decimal("1.25"),
    )
    client.command(
        "CREATE OR REPLACE TABLE kinds (a Int64, b String, c DateTime64(6), d Map(String, UInt8),"
        " e Array(Float64), f Nullable(String), g UUID, h Decimal(9, 2)) "
        "ENGINE = MergeTree ORDER BY a"
    )

    summary = client.insert("kinds", [row])

    assert summary.written_rows == 1
    assert rows(client, "kinds") == [row]


def test_encoded_rows_are_taken_with_columns_and_settings(client: Client, table: str) -> None:
    block = b"".join(b'{"id": %d, "text": "x"}\n' % n for n in range(1000))

    for _ in range(2):
        client.raw_insert(
            table,
            column_names=["id", "text"],
            insert_block=block,
            fmt="JSONEachRow",
            settings={"insert_deduplication_token": "once"},
        )

    assert client.query(f"SELECT count(), uniq(id) FROM {table}").result_rows == [(1000, 1000)]


@pytest.mark.parametrize("compression", ["lz4", "zstd", "gzip", None])
def test_every_compression_is_understood_both_ways(
    shared: Engine, table: str, compression: str | None
) -> None:
    sent = [[n, "text " * 20] for n in range(30_000)]

    with contextlib.closing(shared.client(compress=compression or False)) as client:
        client.insert(table, sent, column_names=["id", "text"])

        assert client.query(f"SELECT * FROM {table} ORDER BY id").result_rows == [
            tuple(row) for row in sent
        ]


def test_frames_go_in_and_arrow_comes_out(client: Client, table: str) -> None:
    client.insert_df(table, client.query_df("SELECT number AS id, 'x' AS text FROM numbers(5000)"))

    assert client.query_arrow(f"SELECT sum(id) AS s FROM {table}").to_pydict() == {"s": [12497500]}


def test_parameters_keep_tabs_quotes_and_microseconds(client: Client) -> None:
    at = dt.datetime(2026, 5, 6, 7, 8, 9, 123456, tzinfo=dt.UTC)
    text = "日本 'q' \\ \t \n end"

    answer = client.query(
        "SELECT {text:String}, {at:DateTime64(6)}, {some:Array(String)}",
        parameters={"text": text, "at": at, "some": ["a'b", "c"]},
    )

    assert answer.result_rows == [(text, at.replace(tzinfo=None), ["a'b", "c"])]


def test_an_insert_takes_parameters_and_forgets_them(shared: Engine, table: str) -> None:
    answer = shared.ask(f"INSERT INTO {table} VALUES ({{n:UInt64}}, 'x')", param_n="7")

    assert (answer.status_code, shared.ask(f"SELECT id FROM {table}").text) == (200, "7\n")
    assert shared.ask("SELECT {n:UInt64}").status_code != 200


def test_a_token_holds_for_a_table_and_its_view(client: Client, table: str) -> None:
    client.command(
        f"CREATE MATERIALIZED VIEW {table}_sum ENGINE = SummingMergeTree ORDER BY k "
        "SETTINGS non_replicated_deduplication_window = 1000 "
        f"AS SELECT 1 AS k, count() AS n, sum(id) AS s FROM {table} GROUP BY k"
    )
    settings = {
        "insert_deduplication_token": "topic/0/10-19",
        "deduplicate_blocks_in_dependent_materialized_views": "1",
    }

    for _ in range(3):
        client.insert(table, [[n, "x"] for n in range(10)], settings=settings)

    assert client.query(f"SELECT sum(n), sum(s) FROM {table}_sum").result_rows == [(10, 45)]
    assert client.query(f"SELECT count() FROM {table}").result_rows == [(10,)]


@pytest.mark.parametrize(
    ("sql", "status", "code"),
    [
        ("SELEC 1", 400, "62"),
        ("SELECT 1; SELECT 2", 400, "62"),
        ("SELECT * FROM nowhere", 404, "60"),
        ("SELECT nothing", 404, "47"),
        ("SELECT throwIf(1)", 500, "395"),
        ("CREATE USER someone", 501, "48"),
        ("CREATE ROW POLICY p ON t USING 1", 501, "48"),
        ("CREATE TABLE k (a Int8) ENGINE = Kafka('b', 't', 'g', 'CSV')", 501, "48"),
        ("CREATE TABLE k (a Int8) ENGINE = ReplicatedMergeTree ORDER BY a", 501, "48"),
        ("SELECT 1 INTO OUTFILE '/tmp/never'", 501, "48"),
        ("SELECT * FROM Python(settings)", 501, "48"),
        ("SELECT * FROM file('/etc/hostname', 'LineAsString')", 403, "497"),
        ("SELECT file('/etc/hostname')", 403, "497"),
        ("SELECT arrayMap(`file`, ['/etc/hostname'])", 403, "497"),
        ("CREATE TABLE f (a String) ENGINE = File('TSV', '/etc/hostname')", 403, "497"),
        ("SELECT * FROM filesystem('/etc')", 403, "497"),
        ("SELECT * FROM `/etc/hostname`", 404, "60"),
    ],
)
def test_what_cannot_be_done_is_said_with_the_servers_code(
    shared: Engine, sql: str, status: int, code: str
) -> None:
    answer = shared.ask(sql)

    told = answer.headers["X-ClickHouse-Exception-Code"]
    assert (answer.status_code, told) == (status, code), answer.text
    assert answer.text.startswith(f"Code: {code}. DB::Exception: ")


def test_an_error_after_the_first_row_reaches_the_reader(shared: Engine, client: Client) -> None:
    sql = "SELECT throwIf(number = 50), sleepEachRow(0.01) FROM numbers(100)"
    settings = {"max_block_size": "10", "max_threads": "1"}
    blocks: list[object] = []

    with (
        pytest.raises(StreamFailureError, match="throwIf"),
        client.query_row_block_stream(sql, settings=settings) as stream,
    ):
        blocks.extend(stream)

    answer = shared.ask(sql, **settings)
    tag = answer.headers["X-ClickHouse-Exception-Tag"]
    assert len(blocks) > 0
    assert answer.text.startswith("0\t0\n")
    assert f"\r\n__exception__\r\n{tag}\r\nCode: 395." in answer.text


def test_a_broken_row_keeps_nothing_and_the_session_goes_on(client: Client, table: str) -> None:
    with pytest.raises(DatabaseError):
        client.raw_insert(table, insert_block=b'{"id": 1}\n{"id": "no', fmt="JSONEachRow")

    assert rows(client, table) == []


@pytest.mark.parametrize(
    ("user", "password"), [("helix", "wrong"), ("nobody", PASSWORD), ("reader", PASSWORD)]
)
def test_a_wrong_name_or_password_is_refused(shared: Engine, user: str, password: str) -> None:
    answer = httpx.post(shared.url, content="SELECT 1", auth=(user, password))

    assert (answer.status_code, answer.headers["X-ClickHouse-Exception-Code"]) == (403, "516")


@pytest.mark.parametrize(
    "sql",
    [
        "INSERT INTO {table} VALUES (1, 'x')",
        "DROP TABLE {table}",
        "ALTER TABLE {table} DELETE WHERE 1",
        "CREATE TABLE another (a Int8) ENGINE = Memory",
        "SET readonly = 0",
        "KILL QUERY WHERE 1",
        "SELECT * FROM url('http://127.0.0.1:1/', 'CSV', 'a Int8')",
        "SELECT * FROM remote('127.0.0.1:1', 'system.one')",
        "CREATE TEMPORARY TABLE mine (a Int8)",
        "WITH 1 AS a INSERT INTO {table} SELECT a, 'y'",
    ],
)
def test_a_reader_changes_nothing_and_reaches_nothing(
    shared: Engine, client: Client, table: str, sql: str
) -> None:
    client.insert(table, [[1, "x"]])

    answer = httpx.post(
        shared.url, content=sql.format(table=table), auth=("reader", READER_PASSWORD)
    )

    assert answer.headers["X-ClickHouse-Exception-Code"] == "164", answer.text
    assert rows(client, table) == [(1, "x")]


def test_a_reader_reads_within_its_limits(shared: Engine, client: Client, table: str) -> None:
    client.insert(table, [[1, "x"]])

    with contextlib.closing(shared.client("reader")) as reader:
        assert rows(reader, table) == [(1, "x")]
        with pytest.raises(DatabaseError, match="TIMEOUT_EXCEEDED"):
            reader.query(
                "SELECT sum(sipHash64(number)) FROM numbers(9e12)",
                settings={"max_execution_time": 1},
            )
        with pytest.raises(DatabaseError, match="SETTING_CONSTRAINT_VIOLATION"):
            reader.query("SELECT 1", settings={"max_execution_time": 100_000})


def test_a_get_changes_nothing(shared: Engine, table: str) -> None:
    for session in ({}, {"session_id": "a-session"}):
        answer = httpx.get(
            shared.url,
            params={"query": f"DROP TABLE {table}", **session},
            auth=("helix", PASSWORD),
        )

        assert answer.headers["X-ClickHouse-Exception-Code"] == "164"


def test_settings_end_with_their_request(shared: Engine) -> None:
    def threads(**params: str) -> str:
        return shared.ask("SELECT getSetting('max_result_rows')", **params).text.strip()

    for session in ({}, {"session_id": "settings"}):
        assert threads(max_result_rows="17", **session) == "17"
        assert threads(**session) == "0"


def test_a_session_keeps_its_tables_and_its_database(shared: Engine) -> None:
    name = {"session_id": "kept"}
    shared.ask("CREATE TEMPORARY TABLE mine (a Int8)", **name)
    shared.ask("INSERT INTO mine VALUES (3)", **name)
    shared.ask("USE system", **name)

    assert shared.ask("SELECT a, currentDatabase() FROM mine", **name).text == "3\tsystem\n"
    assert shared.ask("SELECT currentDatabase()", **name, database="default").text == "default\n"
    assert shared.ask("SELECT * FROM mine").status_code == 404
    assert shared.ask("SELECT 1", session_id="unknown", session_check="1").status_code != 200


def test_a_table_sent_along_lives_as_long_as_its_query(client: Client) -> None:
    for _ in range(2):  # in one session: the second would find the first's
        sent = ExternalData(
            file_name="sent.csv", data=b"1,a\n2,b\n", fmt="CSV", structure="id UInt8, text String"
        )
        answer = client.query("SELECT text FROM sent ORDER BY id", external_data=sent)

        assert answer.result_rows == [("a",), ("b",)]


def test_queries_run_beside_each_other(shared: Engine) -> None:
    def sleep(_: int) -> str:
        return shared.ask("SELECT sleep(1)").text

    start = time.monotonic()
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(sleep, range(8)))

    assert answers == ["0\n"] * 8
    assert time.monotonic() - start < 4  # one after the other they take eight


def test_health_and_figures_answer_while_every_thread_is_busy(shared: Engine) -> None:
    with ThreadPoolExecutor(8) as threads:
        busy = [threads.submit(shared.ask, "SELECT sleep(2)") for _ in range(8)]
        start = time.monotonic()
        ping = httpx.get(f"{shared.url}/ping")
        replicas = httpx.get(f"{shared.url}/replicas_status")
        figures = httpx.get(f"{shared.figures}/metrics").text
        took_s = time.monotonic() - start
        still_busy = not all(one.done() for one in busy)

    assert (ping.text, replicas.text, still_busy) == ("Ok.\n", "Ok.\n", True)
    assert took_s < 1.9
    lines = figures.splitlines()
    assert "# TYPE ClickHouseMetrics_Query gauge" in lines
    assert "# TYPE ClickHouseProfileEvents_Query counter" in lines
    names = {line.split(" ")[0] for line in lines if not line.startswith("#")}
    assert {"ClickHouseAsyncMetrics_Uptime", "ClickHouseAsyncMetrics_DiskTotal_default"} <= names


def test_the_port_of_the_figures_has_nothing_else_and_no_other_has_them(shared: Engine) -> None:
    others = [
        httpx.get(f"{shared.url}/metrics"),
        httpx.get(f"{shared.figures}/ping"),
        httpx.post(shared.figures, content="SELECT 1", auth=("helix", PASSWORD)),
    ]

    assert [answer.status_code for answer in others] == [404] * 3


def test_a_port_of_the_figures_that_is_taken_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        text = json.dumps(
            {
                "host": "127.0.0.1",
                "port": port,
                "metrics": {"host": "127.0.0.1", "port": port},
                "data": str(tmp_path / "data"),
                "memory_mib_max": 1500,
                "threads": 1,
                "users": [],
            }
        )
        (tmp_path / "clickhouse.json").write_text(text)
        argv = [sys.executable, "-m", "infra.engines.clickhouse", str(tmp_path / "clickhouse.json")]
        ended = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False)

    assert ended.returncode == 1
    assert f"`127.0.0.1:{port}` cannot be opened" in ended.stderr


def test_a_query_ends_when_its_client_goes(shared: Engine) -> None:
    def runs() -> bool:
        return (
            shared.ask(
                "SELECT count() FROM system.processes WHERE query LIKE '%numbers(9e12)%' "
                "AND query NOT LIKE '%processes%'"
            ).text
            == "1\n"
        )

    def give_up() -> None:
        with contextlib.suppress(httpx.TimeoutException):
            httpx.post(
                shared.url,
                content="SELECT sum(sipHash64(number)) FROM numbers(9e12)",
                auth=("helix", PASSWORD),
                timeout=2,
            )

    gone = threading.Thread(target=give_up)
    gone.start()
    until(runs, s_max=2, what="the query runs")
    gone.join()

    until(lambda: not runs(), s_max=5, what="the query ends")


def test_a_query_is_found_in_the_log_by_its_id(shared: Engine) -> None:
    shared.ask("SELECT 'find me'", query_id="an-id")

    shared.ask("SYSTEM FLUSH LOGS")

    found = shared.ask(
        "SELECT any(query) FROM system.query_log WHERE log_comment = 'an-id' AND type = 2"
    )
    assert found.text == "SELECT \\'find me\\'\n"


def test_a_query_beyond_its_memory_fails_alone(shared: Engine) -> None:
    answer = shared.ask(
        "SELECT groupArray(number) FROM numbers(100000000)", max_memory_usage=str(50 * MIB)
    )

    assert answer.headers["X-ClickHouse-Exception-Code"] == "241"
    assert shared.ask("SELECT 1").text == "1\n"


def test_inserts_are_on_the_disk_when_answered(shared: Engine) -> None:
    asked = shared.ask(
        "SELECT name, value FROM system.merge_tree_settings "
        "WHERE name IN ('fsync_after_insert', 'fsync_part_directory') ORDER BY name"
    )

    assert asked.text == "fsync_after_insert\t1\nfsync_part_directory\t1\n"


def test_a_backup_comes_back(client: Client, table: str) -> None:
    client.insert(table, [[1, "kept"]])
    client.command(f"BACKUP TABLE {table} TO Disk('backups', '{table}')")
    client.command(f"DROP TABLE {table}")

    client.command(f"RESTORE TABLE {table} FROM Disk('backups', '{table}')")

    assert rows(client, table) == [(1, "kept")]


def test_a_stop_lets_a_query_end_and_leaves_the_folder_free(own: Engine) -> None:
    with ThreadPoolExecutor(1) as thread:
        slow = thread.submit(own.ask, "SELECT sleep(2)", query_id="slow")
        until(
            lambda: (
                "slow" in own.ask("SELECT log_comment FROM system.processes").text
                or own.ask(
                    "SELECT count() FROM system.processes WHERE query LIKE '%sleep(2)%'"
                ).text
                == "2\n"
            ),
            s_max=2,
            what="the query runs",
        )
        own.ask("CREATE TABLE kept (a Int8) ENGINE = MergeTree ORDER BY a")
        own.ask("INSERT INTO kept VALUES (5)")
        own.end(signal.SIGTERM)
        own.start()

    assert slow.result().text == "0\n"
    assert own.ask("SELECT a FROM kept").text == "5\n"
    assert "<Error>" not in own.log.read_text()


def test_a_kill_loses_no_answered_batch_and_a_retried_token_adds_nothing(own: Engine) -> None:
    with contextlib.closing(own.client(autogenerate_session_id=False)) as client:
        client.command(
            "CREATE TABLE events (writer UInt8, batch UInt32, n UInt32) ENGINE = MergeTree "
            "ORDER BY (writer, batch, n) SETTINGS non_replicated_deduplication_window = 10000"
        )
        client.command(
            "CREATE MATERIALIZED VIEW totals ENGINE = SummingMergeTree ORDER BY (writer, batch) "
            "SETTINGS non_replicated_deduplication_window = 10000 "
            "AS SELECT writer, batch, count() AS rows FROM events GROUP BY writer, batch"
        )
    answered: list[tuple[int, int]] = []
    tried: list[tuple[int, int]] = []

    def insert(client: Client, writer: int, batch: int) -> None:
        client.insert(
            "events",
            [[writer, batch, n] for n in range(BATCH_ROWS)],
            settings={
                "insert_deduplication_token": f"{writer}/{batch}",
                "deduplicate_blocks_in_dependent_materialized_views": "1",
            },
        )

    def write(writer: int) -> None:
        with (
            contextlib.suppress(ClickHouseError, OSError),
            contextlib.closing(own.client(query_retries=0)) as client,
        ):
            for batch in range(10_000):
                tried.append((writer, batch))
                insert(client, writer, batch)
                answered.append((writer, batch))

    with ThreadPoolExecutor(3) as threads:
        for writer in range(3):
            threads.submit(write, writer)
        until(lambda: len(answered) >= 30, s_max=30, what="batches are answered")
        own.end(signal.SIGKILL)
    own.start()

    with contextlib.closing(own.client()) as client:
        counted = "SELECT writer, batch, count() FROM events GROUP BY ALL"
        found = {(writer, batch): n for writer, batch, n in client.query(counted).result_rows}
        assert set(answered) <= set(found)
        assert set(found.values()) == {BATCH_ROWS}  # never a part of a batch
        for writer, batch in tried:
            insert(client, writer, batch)
        expected = (len(tried) * BATCH_ROWS,)
        assert client.query("SELECT count() FROM events").result_rows == [expected]
        assert client.query("SELECT sum(rows) FROM totals").result_rows == [expected]


BATCH_ROWS = 1_000
