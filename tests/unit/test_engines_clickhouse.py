"""ClickHouse's engine: statements, bodies and configuration, without the engine."""

import gzip
import zlib
from xml.etree import ElementTree as ET

import lz4.frame
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from infra.engines.clickhouse.compression import Decoder, Encoder
from infra.engines.clickhouse.config import Config, Role, User, lay_out, render_engine, render_users
from infra.engines.clickhouse.errors import ClickHouseError, from_engine
from infra.engines.clickhouse.links import Access
from infra.engines.clickhouse.requests import (
    Body,
    ClientGoneError,
    Request,
    authenticate,
    read_request,
    read_sent,
)
from infra.engines.clickhouse.statements import find_insert, parse, refuse, tokens, with_file
from infra.engines.serving import Message, Place, Receive

USERS = (User("helix", "pässword", Role.ADMIN), User("reader", "two", Role.READER))
PATHS = ("/data", "/data with <signs> & blanks")
PACKERS = {
    "lz4": lz4.frame.compress,
    "zstd": zstandard.compress,
    "gzip": gzip.compress,
    "deflate": zlib.compress,
}


def config(folder: str = "/data") -> Config:
    return Config(
        host="127.0.0.1",
        port=8123,
        data=folder,
        metrics=Place(host="127.0.0.1", port=9363),
        memory_mib_max=1024,
        threads=4,
        users=USERS,
    )


def receiver(*pieces: bytes, whole: bool = True) -> Receive:
    messages: list[Message] = [
        {"type": "http.request", "body": piece, "more_body": not whole or at + 1 < len(pieces)}
        for at, piece in enumerate(pieces)
    ]

    async def receive() -> Message:
        return messages.pop(0) if messages else {"type": "http.disconnect"}

    return receive


def scope(query: bytes = b"", method: str = "POST", **headers: str) -> Message:
    pairs = [(name.replace("_", "-").encode(), text.encode()) for name, text in headers.items()]
    return {"method": method, "query_string": query, "headers": pairs}


@pytest.mark.parametrize(
    ("text", "head", "form", "rest"),
    [
        ("INSERT INTO t FORMAT CSV\n1,2", "INSERT INTO t ", "CSV", "1,2"),
        ("insert into t (a) format CSV 1", "insert into t (a) ", "CSV", "1"),
        ("INSERT INTO t VALUES (1)", "INSERT INTO t ", "Values", " (1)"),
        ("/* FORMAT X */ INSERT INTO `values` FORMAT TSV\r\nx", None, "TSV", "x"),
        ("INSERT INTO t (`format`, values) FORMAT CSV\n\nx", None, "CSV", "\nx"),
        ("INSERT INTO t SETTINGS a = 'VALUES' VALUES (1)", None, "Values", " (1)"),
        ("-- INSERT\nINSERT INTO FUNCTION f('(') FORMAT CSV\n1", None, "CSV", "1"),
    ],
)
def test_the_data_of_an_insert_is_found(text: str, head: str | None, form: str, rest: str) -> None:
    insert = find_insert(text)

    assert insert is not None
    assert (insert.format, text[insert.data_at :]) == (form, rest)
    assert head in {None, insert.head}


@pytest.mark.parametrize(
    "text",
    [
        "SELECT 1 FORMAT CSV",
        "INSERT INTO t SELECT 1 FORMAT CSV",
        "INSERT INTO t WITH 1 AS a SELECT a",
        "INSERT INTO t (a",
        "INSERT INTO t",
        "",
    ],
)
def test_other_statements_have_no_data(text: str) -> None:
    assert find_insert(text) is None


@pytest.mark.parametrize(
    ("text", "sql", "form"),
    [
        ("SELECT 1 FORMAT JSON;", "SELECT 1", "JSON"),
        ("-- why\nSELECT 1 format JSON\n", "SELECT 1", "JSON"),
        ("SELECT 1 FORMAT JSON SETTINGS a = 1", "SELECT 1  SETTINGS a = 1", "JSON"),
        ("SELECT ' FORMAT CSV'", "SELECT ' FORMAT CSV'", None),
        ("SELECT format FROM t", "SELECT format FROM t", None),
        ("SELECT format('{}', 1)", "SELECT format('{}', 1)", None),
        ("SELECT 1 ;", "SELECT 1", None),
    ],
)
def test_the_format_clause_is_taken_out(text: str, sql: str, form: str | None) -> None:
    query = parse(text)

    assert (query.sql, query.format) == (sql, form)


def test_a_comment_is_no_statement() -> None:
    with pytest.raises(ClickHouseError, match="Empty query"):
        parse("-- nothing\n")


@pytest.mark.parametrize(
    ("text", "rows", "stream", "state"),
    [
        ("SELECT 1", True, True, False),
        ("(SELECT 1) UNION ALL (SELECT 2)", True, False, False),
        ("WITH 1 AS a SELECT a", True, True, False),
        ("WITH 1 AS a INSERT INTO t SELECT a", True, False, False),
        ("USE other", False, False, True),
        ("CREATE OR REPLACE TEMPORARY TABLE t (a Int8)", False, False, True),
        ("CREATE TABLE temporary (a Int8) ENGINE = Memory", False, False, False),
    ],
)
def test_a_statement_says_what_it_needs(
    text: str, *, rows: bool, stream: bool, state: bool
) -> None:
    query = parse(text)

    assert (query.has_rows, query.can_stream, query.keeps_state) == (rows, stream, state)


@pytest.mark.parametrize(
    "text",
    [
        "CREATE USER u",
        "create /* */ or replace role r",
        "ALTER SETTINGS PROFILE p",
        "GRANT ALL ON *.* TO u",
        "EXECUTE AS u SELECT 1",
        "CREATE TABLE t (a Int8) ENGINE=ReplicatedMergeTree ORDER BY a",
        "CREATE TABLE t (a Int8) ENGINE = `Kafka`('a')",
        "SELECT 1 INTO -- to\n OUTFILE 'x'",
        "INSERT INTO t FROM INFILE 'x' FORMAT CSV",
        "SELECT * FROM Python (x)",
        'SELECT "file"(name) FROM t',
        "SELECT * APPLY file FROM t",
        "SELECT $a$ ' $a$, file('x')",
        "SELECT 1 # '\n, file('x') -- '",
        "SELECT \u2018 ' \u2019, file('x'), \u2018 ' \u2019",
        "SELECT \u201cfile\u201d('x')",
        "SELECT `\\x66ile`('x')",
        "BACKUP TABLE t TO File('x')",
        "SELECT 1; DROP TABLE t",
    ],
)
def test_what_cannot_be_served_is_refused_however_it_is_written(text: str) -> None:
    with pytest.raises(ClickHouseError) as refused:
        refuse(text)

    assert refused.value.code in {48, 62, 497}


@pytest.mark.parametrize(
    "text",
    [
        "SELECT 'CREATE USER; file(1) INTO OUTFILE' -- Kafka; file(x)",
        "SELECT user, role FROM t;",
        "SELECT $$ file('x') $$",
        "INSERT INTO infile SELECT 1",
        "CREATE TABLE user (quota Int8) ENGINE = MergeTree ORDER BY quota",
        "-- user",
    ],
)
def test_words_in_strings_names_and_comments_are_let_through(text: str) -> None:
    refuse(text)


@given(st.text())
def test_tokens_lie_in_the_text_in_order(text: str) -> None:
    end = 0
    for token in tokens(text):
        assert text[token.start : token.end] == token.text
        assert token.start >= end
        end = token.end


@given(
    st.sampled_from(sorted(PACKERS)),
    st.lists(st.binary(min_size=1), min_size=1, max_size=4),
    st.integers(1, 50),
)
def test_frames_back_to_back_may_be_cut_anywhere(
    encoding: str, frames: list[bytes], step: int
) -> None:
    packed = b"".join(PACKERS[encoding](frame) for frame in frames)
    decoder = Decoder(encoding)

    out = b"".join(decoder.feed(packed[at : at + step]) for at in range(0, len(packed), step))
    decoder.end()

    assert out == b"".join(frames)


@pytest.mark.parametrize("encoding", sorted(PACKERS))
def test_a_body_that_is_cut_off_or_broken_is_refused(encoding: str) -> None:
    decoder = Decoder(encoding)
    decoder.feed(PACKERS[encoding](b"row " * 1000)[:-5])

    with pytest.raises(ClickHouseError, match="cut off"):
        decoder.end()
    with pytest.raises(ClickHouseError, match="cannot be decompressed"):
        Decoder(encoding).feed(b"no such frame at all")


def test_an_unknown_encoding_is_named() -> None:
    with pytest.raises(ClickHouseError, match="`br`"):
        Decoder("br")


@pytest.mark.parametrize("encoding", ["", "br", *sorted(PACKERS)])
def test_an_answer_is_readable_by_who_asked(encoding: str) -> None:
    encoder = Encoder(f"{encoding};q=1.0")
    packed = encoder.feed(b"one") + encoder.feed(b"two") + encoder.end()

    decoder = Decoder(encoder.name)

    assert decoder.feed(packed) == b"onetwo"
    decoder.end()


@pytest.mark.anyio
async def test_an_insert_is_known_before_its_data_has_come() -> None:
    body = Body(receiver(b"INSERT INTO ", b"t FORMAT CSV\n1,", b"2\n"), "")
    sent = await read_sent(Request("POST", {}, {"query": ""}), body)

    assert sent.insert is not None
    assert sent.data + b"".join([piece async for piece in body.pieces()]) == b"1,2\n"


@pytest.mark.anyio
async def test_a_body_continues_the_query_of_the_address() -> None:
    body = Body(receiver(b"FORMAT CSV\n", b"1"), "")
    sent = await read_sent(Request("POST", {}, {"query": "INSERT INTO t"}), body)

    assert sent.insert is not None
    assert (sent.insert.format, sent.data) == ("CSV", b"1")


@pytest.mark.anyio
async def test_a_client_that_breaks_off_is_noticed() -> None:
    body = Body(receiver(b"SELECT", whole=False), "")

    with pytest.raises(ClientGoneError):
        await read_sent(Request("POST", {}, {}), body)


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (scope(x_clickhouse_user="helix", x_clickhouse_key="two"), None),
        (scope(x_clickhouse_user="reader", x_clickhouse_key="two"), "reader"),
        (scope(b"user=helix&password=p%C3%A4ssword"), "helix"),
        (scope(authorization="Basic aGVsaXg6cMOkc3N3b3Jk"), "helix"),
        (scope(authorization="Basic !"), None),
        (scope(), None),
    ],
)
def test_a_user_is_known_by_header_address_or_basic(found: Message, expected: str | None) -> None:
    request = read_request(found)
    if expected:
        assert authenticate(request, USERS).name == expected
        return
    with pytest.raises(ClickHouseError) as refused:
        authenticate(request, USERS)
    assert (refused.value.code, refused.value.status) == (516, 403)


def test_settings_are_what_the_interface_does_not_read() -> None:
    request = read_request(scope(b"query=x&param_a=1&max_threads=2&database=d"))

    want = request.want(Role.ADMIN, "an-id")

    assert dict(want.settings) == {"log_comment": "an-id", "max_threads": "2"}
    assert (want.database, dict(request.params), want.access) == ("d", {"a": "1"}, Access.FULL)


@pytest.mark.parametrize(
    ("method", "role", "access"),
    [
        ("POST", Role.ADMIN, Access.FULL),
        ("GET", Role.ADMIN, Access.GET),
        ("POST", Role.READER, Access.READER),
        ("GET", Role.READER, Access.READER),
    ],
)
def test_only_an_administrators_post_may_change(method: str, role: Role, access: Access) -> None:
    assert read_request(scope(method=method)).want(role, "id").access is access


def test_native_compression_is_refused_by_name() -> None:
    with pytest.raises(ClickHouseError, match="`compress`") as refused:
        read_request(scope(b"compress=1"))

    assert refused.value.status == 501


@pytest.mark.parametrize(
    ("text", "code", "status"),
    [
        ("failed: Code: 60. DB::Exception: no table (UNKNOWN_TABLE)", 60, 404),
        ("Code: 241. DB::Exception: memory", 241, 500),
        ("Code: 159. DB::Exception: slow", 159, 408),
        ("something else", 1002, 500),
    ],
)
def test_the_engines_errors_keep_their_code(text: str, code: int, status: int) -> None:
    error = from_engine(RuntimeError(text))

    assert (error.code, error.status) == (code, status)
    assert error.line("26").startswith(f"Code: {code}. DB::Exception: ")


@pytest.mark.parametrize("folder", PATHS)
def test_the_engines_files_are_sound_and_absolute(
    folder: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    root = tmp_path_factory.mktemp("engine") / folder.removeprefix("/")
    settings = config(str(root))

    engine = ET.fromstring(render_engine(settings, root))
    users = ET.fromstring(render_users(settings))

    assert engine.findtext("path") == f"{root}/engine/"
    assert engine.findtext("user_directories/users_xml/path") == engine.findtext("users_config")
    assert engine.findtext("max_server_memory_usage") == str((1024 - 320) * 1024 * 1024)
    assert engine.findtext("merge_tree/fsync_after_insert") == "1"
    assert users.findtext("profiles/default/max_memory_usage") == str(352 * 1024 * 1024)


def test_a_second_layout_changes_nothing(tmp_path_factory: pytest.TempPathFactory) -> None:
    root = tmp_path_factory.mktemp("engine")
    first = lay_out(config(str(root)))
    before = {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}

    assert lay_out(config(str(root))) == first
    assert {path: path.read_bytes() for path in root.rglob("*") if path.is_file()} == before
    assert all(path.stat().st_mode & 0o077 == 0 for path in before)


@pytest.mark.parametrize(
    ("head", "whole"),
    [
        ("INSERT INTO t (a) ", "INSERT INTO t (a) FROM INFILE '/f'"),
        ("INSERT INTO t SETTINGS a = 1", "INSERT INTO t FROM INFILE '/f' SETTINGS a = 1"),
        ("INSERT INTO `SETTINGS` (b)", "INSERT INTO `SETTINGS` (b) FROM INFILE '/f'"),
    ],
)
def test_an_insert_reads_a_file_before_its_settings(head: str, whole: str) -> None:
    assert with_file(head, "/f") == whole
