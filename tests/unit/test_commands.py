"""The `helix` command, against the application itself."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import msgspec
import pytest
from click.testing import CliRunner, Result
from structlog.testing import capture_logs

from helix.client import calls
from helix.client.commands import helix
from helix.client.rest import Client
from helix.client.transcripts import guessed, read
from helix.errors import InvalidError
from tests.served import KEY, Handle, application
from validation.meetings import SAMPLE

ENV = {"HELIX_URL": "http://testserver", "HELIX_API_KEY": KEY}
TURNS = 168

Run = Callable[..., Result]


@pytest.fixture
def served() -> Iterator[Handle]:
    """The application as a transport's handler."""
    with application() as handle:
        yield handle


@pytest.fixture
def run(served: Handle) -> Run:
    """The command as a shell would run it."""
    return running(served)


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calls, "PAUSE_S_MAX", 0.0)


@pytest.fixture(autouse=True)
def apart() -> Iterator[None]:
    """The application's log stays out of the command's output: they share this process alone."""
    with capture_logs():
        yield


def running(handle: Handle) -> Run:
    def connect(url: str, api_key: str, ca: str) -> Client:
        return Client(url, api_key, ca=ca, transport=httpx.MockTransport(handle))

    def invoke(*words: object, env: dict[str, str] = ENV) -> Result:
        return CliRunner().invoke(helix, [str(word) for word in words], obj=connect, env=env)

    return invoke


def written(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines) + "\n")
    return path


def ingested(run: Run, *words: object) -> str:
    """The id of the one conversation that was written."""
    result = run("ingest", *words)
    assert result.exit_code == 0, result.output
    return result.stdout.split("\t")[0]


def test_a_file_goes_in_and_is_replayed(run: Run) -> None:
    name = ingested(run, SAMPLE)
    result = run("replay", name)

    assert result.exit_code == 0
    assert len(result.stdout.splitlines()) == TURNS
    assert result.stdout.startswith("Project Manager: So welcome .")
    assert f"{TURNS} messages" in result.stderr


def test_ingesting_again_writes_nothing_twice(run: Run) -> None:
    first = ingested(run, SAMPLE)
    again = ingested(run, SAMPLE)

    assert again == first
    assert len(run("replay", first).stdout.splitlines()) == TURNS


def test_a_broken_ingest_goes_on_where_it_broke(served: Handle) -> None:
    left = [3]

    def breaking(request: httpx.Request) -> httpx.Response:
        left[0] -= request.method == "POST"
        if left[0] < 0:
            raise httpx.ConnectError("gone")
        return served(request)

    broken = running(breaking)("ingest", SAMPLE)
    run = running(served)
    name = ingested(run, SAMPLE)

    assert (broken.exit_code, "make status" in broken.stderr) == (1, True)
    assert len(run("replay", name).stdout.splitlines()) == TURNS


def test_ctrl_c_says_how_to_go_on(served: Handle) -> None:
    def interrupted(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/messages"):
            raise KeyboardInterrupt
        return served(request)

    result = running(interrupted)("ingest", SAMPLE)

    assert result.exit_code == 130
    assert result.stderr == "Error: stopped; the same command again goes on from here\n"


def test_another_batch_size_on_the_second_run_is_named(run: Run) -> None:
    ingested(run, SAMPLE)
    result = run("ingest", SAMPLE, "--batch", 7)

    assert result.exit_code == 1
    assert "begun with another `--user` or `--batch`" in result.stderr


def test_a_conversation_can_be_named(run: Run) -> None:
    assert ingested(run, SAMPLE, "--conversation", "kick-off") == "kick-off"


def test_one_name_is_not_given_to_several_conversations(run: Run, tmp_path: Path) -> None:
    line = SAMPLE.read_bytes().replace(b"\n", b" ").decode()
    result = run("ingest", written(tmp_path / "two.jsonl", line, line), "--conversation", "x")

    assert (result.exit_code, "holds 2 conversations" in result.stderr) == (2, True)


def test_a_corpus_is_a_conversation_a_line(run: Run, tmp_path: Path) -> None:
    line = SAMPLE.read_bytes().replace(b"\n", b" ").decode()
    result = run("ingest", written(tmp_path / "two.jsonl", line, line))

    rows = [row.split("\t") for row in result.stdout.splitlines()]
    assert [count for _, count in rows] == [str(TURNS)] * 2
    assert rows[0][0] != rows[1][0]


def test_lines_of_messages_become_their_conversations(run: Run, tmp_path: Path) -> None:
    lines = [
        '{"role": "user", "content": "a", "conversation_id": "x"}',
        '{"role": "user", "content": "b", "conversation_id": "y"}',
        '{"role": "assistant", "content": "c", "conversation_id": "x"}',
    ]
    result = run("ingest", written(tmp_path / "said.jsonl", *lines))

    assert result.stdout == "x\t2\ny\t1\n"
    assert run("replay", "x").stdout == "user: a\nassistant: c\n"


def test_text_is_a_message_a_line(run: Run, tmp_path: Path) -> None:
    name = ingested(run, written(tmp_path / "said.txt", "hello", "", "Assistant: what: now?"))

    assert run("replay", name).stdout == "user: hello\nassistant: what: now?\n"


def test_a_line_that_cannot_be_read_is_named(run: Run, tmp_path: Path) -> None:
    path = written(tmp_path / "said.jsonl", '{"role": "user", "content": "a"}', '{"role": 1}')
    result = run("ingest", path)

    assert (result.exit_code, "line 2" in result.stderr) == (1, True)


def test_a_file_without_a_message_is_refused(run: Run, tmp_path: Path) -> None:
    result = run("ingest", written(tmp_path / "said.txt", "", " "))

    assert (result.exit_code, "holds no message" in result.stderr) == (1, True)


def test_a_file_that_is_not_there_is_wrong_usage(run: Run) -> None:
    assert run("ingest", "nowhere.jsonl").exit_code == 2


def test_replay_gives_the_whole_answer_as_json(run: Run) -> None:
    answer = json.loads(run("replay", ingested(run, SAMPLE), "--json").stdout)

    assert len(answer["messages"]) == TURNS
    assert answer["compressed"] is False


def test_replay_gives_a_message_a_line_as_ndjson(run: Run) -> None:
    lines = run("replay", ingested(run, SAMPLE), "--ndjson").stdout.splitlines()

    assert [list(json.loads(line)) for line in lines] == [["message"]] * TURNS + [["replay"]]


def test_a_budget_holds(run: Run) -> None:
    name = ingested(run, SAMPLE)
    answer = json.loads(run("replay", name, "--max-tokens", 300, "--json").stdout)

    assert 0 < answer["total_tokens"] <= 300


def test_a_strategy_and_a_question_reach_the_replay() -> None:
    asked = list[dict[str, object]]()

    def handle(request: httpx.Request) -> httpx.Response:
        asked.append(json.loads(request.content))
        return httpx.Response(404, json={})

    running(handle)("replay", "c", "--strategy", "hybrid", "--query", "why?", "--resume")

    assert asked[0]["compression_strategy"] == "hybrid"
    assert (asked[0]["query"], asked[0]["resume_from_snapshot"]) == ("why?", True)


def test_a_terminals_control_characters_stay_out_of_the_text(run: Run, tmp_path: Path) -> None:
    line = msgspec.json.encode({"role": "user", "content": "a\x1b[2Jb"}).decode()
    name = ingested(run, written(tmp_path / "said.jsonl", line))

    assert run("replay", name).stdout == "user: a[2Jb\n"
    assert "\\u001b" in run("replay", name, "--json").stdout


def test_stats_are_a_figure_a_line(run: Run) -> None:
    figures = dict(
        line.split("\t") for line in run("stats", ingested(run, SAMPLE)).stdout.splitlines()
    )

    assert (figures["message_count"], figures["outcome"]) == (str(TURNS), "successful")


def test_list_shows_the_conversations_of_a_user(run: Run) -> None:
    name = ingested(run, SAMPLE, "--user", "ada")
    rows = [row.split("\t") for row in run("list", "--user", "ada").stdout.splitlines()]

    assert [(row[0], row[1], row[2]) for row in rows] == [(name, "ada", str(TURNS))]
    assert run("list", "--user", "bob").stdout == ""


def test_health_is_a_service_a_line(run: Run) -> None:
    result = run("health")

    assert result.exit_code == 0
    assert result.stdout.startswith("kafka\thealthy\t")


def test_an_unknown_conversation_is_one_line_and_exit_code_1(run: Run) -> None:
    result = run("replay", "nobody")

    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == "Error: no conversation `nobody`: check the id\n"


@pytest.mark.parametrize("name", ENV)
def test_a_missing_address_or_key_is_wrong_usage(run: Run, name: str) -> None:
    result = run("stats", "c", env=ENV | {name: ""})

    assert (result.exit_code, f"`{name}` is not set" in result.stderr) == (2, True)


@pytest.mark.parametrize("command", ["ingest", "replay", "stats", "list", "health"])
def test_help_needs_neither_address_nor_key(run: Run, command: str) -> None:
    result = run(command, "--help", env=dict.fromkeys(ENV, ""))

    assert (result.exit_code, result.stdout.startswith("Usage: ")) == (0, True)


@pytest.mark.parametrize(
    ("name", "data", "form"),
    [
        ("a.txt", b"hello", "text"),
        ("a.json", b'{"meeting_transcripts": []}', "qmsum"),
        ("a.jsonl", b'{"meeting_transcripts": []}\n', "qmsum"),
        ("a.jsonl", b'{"role": "user"}\n', "jsonl"),
    ],
)
def test_a_files_content_says_its_format(name: str, data: bytes, form: str) -> None:
    assert guessed(Path(name), data) == form


def test_text_that_is_not_utf_8_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "latin.txt"
    path.write_bytes(b"caf\xe9")

    with pytest.raises(InvalidError, match="UTF-8"):
        read(path)
