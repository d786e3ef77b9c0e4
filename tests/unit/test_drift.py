"""Drift: how what is declared and what is found are compared, without looking at anything."""

import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from minio.commonconfig import DISABLED, ENABLED, Filter
from minio.lifecycleconfig import Expiration, Rule

from helix.errors import MissingError, UnavailableError
from helix.topology.catalog import CATALOG
from infra.certificates.authority import Row
from infra.certificates.vault import stack_vault
from infra.composition import hosted_site, now
from infra.drift import __main__ as command
from infra.drift import ages, buckets, machine, schemas, servers, topics, vectors
from infra.drift.looking import Look, report
from infra.drift.model import NEXT_STEPS, Away, Cure, Cures, Drift, Kind, Report, compared
from infra.drift.running import Process, differences, environment, first_difference, outdated
from infra.drift.schemas import Schema
from infra.drift.vault import standing
from infra.launch import Launch, secret
from infra.passwords.names import Made, made
from infra.provider import secrets
from infra.provider.supervision import State
from infra.substrates.containers import Container
from tests.unit.fleets import fleet

CURES = Cures(missing=Cure.BOOTSTRAP, differing=Cure.MIGRATE, parts={"size": Cure.MOVE})
NOW = datetime(2026, 11, 21, tzinfo=UTC)
MASTER = bytes(32)
OLD, NEW = (secrets.derive(MASTER, "redis", version) for version in (1, 2))
PATH = "/conf/redis.conf"
CLASSPATH = ":".join(f"/kafka/lib/{number}.jar" for number in range(20))


def named(drifts: list[Drift]) -> list[tuple[str, str, str]]:
    """What was found, without what to do about it."""
    return [(drift.name, drift.declared, drift.live) for drift in drifts]


def process(**changes: object) -> Process:
    """A process as it is rendered and found."""
    same = Process(name="redis", image={"state": "running"}, settings={}, texts={})
    return msgspec.structs.replace(same, **changes)


def texts(template: str, found: str, lookup: Callable[[str], str] = lambda _: NEW) -> list[Drift]:
    """What is found of a process with one file."""
    return differences(process(texts={PATH: template}), process(texts={PATH: found}), lookup)


def test_equal_things_have_not_drifted() -> None:
    assert compared(Kind.TOPIC, {"a": {"size": "1"}}, {"a": {"size": "1"}}, CURES) == []


def test_a_thing_that_one_side_lacks_is_one_drift() -> None:
    found = compared(Kind.TOPIC, {"a": {"size": "1", "days": "2"}}, {"b": {"size": "1"}}, CURES)

    assert named(found) == [("a", "there", "nothing"), ("b", "nothing", "there")]
    assert [drift.cure for drift in found] == [Cure.BOOTSTRAP, Cure.DECIDE]


def test_each_part_that_differs_is_a_drift_with_its_own_cure() -> None:
    declared = {"a": {"size": "1", "days": "2"}}
    live = {"a": {"size": "3", "days": "4", "more": "5"}}

    found = compared(Kind.TOPIC, declared, live, CURES, store="kafka")

    assert named(found) == [
        ("kafka a days", "2", "4"),
        ("kafka a more", "nothing", "5"),
        ("kafka a size", "1", "3"),
    ]
    assert [drift.cure for drift in found] == [Cure.MIGRATE, Cure.DECIDE, Cure.MOVE]


@pytest.mark.parametrize("cure", list(Cure))
def test_every_sentence_ends_with_what_to_do(cure: Cure) -> None:
    drift = Drift(kind=Kind.TOPIC, name="a", declared="1", live="2", cure=cure)

    sentence = drift.sentence("mine")

    assert sentence.startswith("topic: `a`: declared 1; live 2: ")
    assert sentence.endswith(NEXT_STEPS[cure].format(name="a", stack="mine"))


def test_a_fresh_broker_has_what_the_catalogue_declares() -> None:
    [audit] = [topic for topic in CATALOG.topics if topic.name == "helixagent.audit"]

    found = topics.declared([audit], 3)

    assert found["helixagent.audit"]["partitions"] == "3"
    assert found["helixagent.audit"]["replication factor"] == "3"
    assert found["helixagent.audit"]["min.insync.replicas"] == "2"
    assert found["helixagent.audit"]["retention.ms"] == str(90 * 86_400_000)


def test_every_topic_and_bucket_of_the_catalogue_carries_our_prefix() -> None:
    assert all(topic.name.startswith(topics.PREFIX) for topic in CATALOG.topics)
    assert all(bucket.name.startswith(buckets.PREFIX) for bucket in CATALOG.buckets)


@pytest.mark.parametrize("store", list(schemas.STORES))
def test_the_record_was_taken_after_the_latest_migration(store: str) -> None:
    assert schemas.recorded(store).migrations == schemas.migrations(store), (
        "record the schema of a fresh stack: `.venv/bin/python -m infra.drift --record`"
    )


def test_every_table_of_the_catalogue_is_recorded_and_no_other() -> None:
    for store in ("postgres", "clickhouse"):
        declared = {table.name for table in CATALOG.tables if table.store == store}
        recorded = schemas.recorded(store).tables
        views = {
            name
            for name, parts in recorded.items()
            if "MaterializedView" in parts.get("ENGINE", "")
        }

        assert set(recorded) - views == declared


def test_a_record_reads_back_as_it_was_written(tmp_path: Path) -> None:
    schema = Schema(migrations={"0001": "ab"}, tables={"t": {"id": "text"}}, indexes={"i": "t(id)"})

    path = schemas.record("postgres", schema, tmp_path)

    assert schemas.recorded("postgres", tmp_path) == schema
    assert path.read_bytes().endswith(b"}\n")


def test_a_column_an_index_and_a_migration_are_told_apart() -> None:
    declared = Schema(
        migrations={"0001": "a", "0002": "b"},
        tables={"t": {"id": "text"}},
        indexes={"by_id": "t(id)"},
    )
    live = Schema(migrations={"0001": "edited"}, tables={"t": {"id": "text", "x": "int"}})

    found = schemas.differences("postgres", declared, live)

    assert [(drift.kind, drift.name, drift.cure) for drift in found] == [
        (Kind.DDL, "postgres t x", Cure.MIGRATE),
        (Kind.INDEX, "postgres by_id", Cure.MIGRATE),
        (Kind.DDL, "postgres migration 0001", Cure.MIGRATE),
        (Kind.DDL, "postgres migration 0002", Cure.BOOTSTRAP),
    ]


def test_what_qdrant_says_of_a_fresh_collection_is_what_is_declared() -> None:
    collection = CATALOG.collections[0]
    info = {
        "config": {
            "params": {
                "vectors": {"dense": {"size": collection.dimensions, "distance": "Cosine"}},
                "sparse_vectors": {"bm25": {"modifier": "idf"}},
            }
        },
        "payload_schema": {"tenant": {"data_type": "keyword", "points": 0}},
    }

    assert vectors.declared([collection]) == {collection.name: vectors.described(info)}


def rule(*, days: int, name: str = "expire", prefix: str = "", status: str = ENABLED) -> Rule:
    return Rule(
        status, rule_filter=Filter(prefix=prefix), rule_id=name, expiration=Expiration(days=days)
    )


def test_what_the_store_says_of_a_fresh_bucket_is_what_is_declared() -> None:
    expiring, kept = CATALOG.buckets[0], CATALOG.buckets[2]

    assert buckets.declared([expiring, kept]) == {
        expiring.name: buckets.described([rule(days=expiring.expire_days)], "", "Off"),
        kept.name: buckets.described([], "", None),
    }


@pytest.mark.parametrize(
    ("found", "part"),
    [
        (([rule(days=1)], "", "Off"), "expiry"),
        (([rule(days=9, status=DISABLED)], "", "Off"), "other rules"),
        (([rule(days=9, prefix="x/")], "", "Off"), "other rules"),
        (([], '{"Statement": []}', "Off"), "anonymous access"),
        (([], "", "Enabled"), "versioning"),
    ],
)
def test_a_changed_bucket_is_told_by_the_part_that_changed(
    found: tuple[list[Rule], str, str], part: str
) -> None:
    fresh = buckets.described([], "", "Suspended")

    changed = buckets.described(*found)

    assert {name for name, text in changed.items() if fresh[name] != text} == {part}


def test_a_process_as_rendered_has_not_drifted() -> None:
    assert texts(f"requirepass {secret('redis')}\n", f"requirepass {NEW}\n") == []


def test_an_edited_public_file_shows_the_first_line_that_differs() -> None:
    [drift] = texts("a 1\nb 2\n", "a 1\nb 3\nc 4\n")

    assert drift.kind is Kind.CONFIG
    assert named([drift]) == [(f"redis {PATH}", "b 2", "b 3")]


def test_an_edited_private_file_shows_fingerprints_alone() -> None:
    [drift] = texts(f"requirepass {secret('redis')}\n", f"requirepass {NEW}\nport 1\n")

    assert drift.kind is Kind.CONFIG
    assert NEW not in drift.sentence("local")
    assert "port" not in drift.sentence("local")


def test_a_missing_file_is_a_drift() -> None:
    found = differences(process(texts={PATH: "a"}), process(), str)

    assert named(found) == [(f"redis {PATH}", "there", "nothing")]


def test_an_older_version_of_a_password_is_an_age_and_no_edit() -> None:
    [drift] = texts(f"requirepass {secret('redis')}\n", f"requirepass {OLD}\n")

    assert (drift.kind, drift.name) == (Kind.SECRET_AGE, "redis redis")
    assert OLD not in drift.sentence("local")


def test_a_password_of_somebodys_own_is_an_edit() -> None:
    [drift] = texts(f"requirepass {secret('redis')}\n", "requirepass mine\n")

    assert drift.kind is Kind.CONFIG


def test_the_parts_of_a_rotated_certificate_are_one_drift() -> None:
    files = {f"/tls/{part}": secret(f"tls.kafka-1.{part}") for part in ("certificate", "key")}
    live = dict.fromkeys(files, "an older one")

    found = differences(process(texts=files), process(texts=live), str)

    assert [(drift.kind, drift.name) for drift in found] == [(Kind.SECRET_AGE, "redis tls.kafka-1")]


def test_a_token_of_an_older_signer_is_old_and_no_other_drift() -> None:
    name = "jwt.redis.helix.prometheus"
    old, new = (secrets.derive(MASTER, name, version) for version in (1, 2))

    assert outdated(f"bearer ${{secret:{name}}}", f"bearer {old}", lambda _: new) == [name]


def test_only_the_secrets_that_changed_are_named() -> None:
    template = f"{secret('one')}:{secret('two')}@host"

    assert outdated(template, f"{OLD}:{NEW}@host", lambda _: NEW) == ["one"]
    assert outdated(template, f"{OLD}:{NEW}@elsewhere", lambda _: NEW) == []


def test_a_variable_of_the_environment_is_named_without_its_secret() -> None:
    declared = environment({"PASSWORD": secret("redis"), "PORT": "1"})
    live = environment({"PASSWORD": OLD, "PORT": "2", "MORE": "3"})

    found = differences(process(texts=declared), process(texts=live), lambda _: NEW)

    assert sorted(drift.name for drift in found) == [
        "redis env MORE",
        "redis env PORT",
        "redis redis",
    ]


def test_a_long_command_shows_the_first_word_that_differs() -> None:
    declared = process(settings={"command": f"java -cp {CLASSPATH} -Xmx96m Main"})
    live = process(settings={"command": f"java -cp {CLASSPATH} -Xmx97m Main"})

    assert named(differences(declared, live, str)) == [("redis command", "-Xmx96m", "-Xmx97m")]
    assert first_difference(["a"], ["a", "b"]) == ("nothing", "b")


def launch(**changes: object) -> Launch:
    """A process of this machine."""
    made = Launch(
        name="redis",
        argv=("/cache/redis-7-ab/bin/redis-server", PATH),
        check=msgspec.convert(
            {"service": "redis", "kind": "redis", "host": "h", "port": 1, "start_s_max": 1},
            type=msgspec.structs.fields(Launch)[2].type,
        ),
        cwd="/data",
    )
    return msgspec.structs.replace(made, **changes)


def test_another_version_of_a_program_is_another_image(tmp_path: Path) -> None:
    below = machine.artifacts_below(Path("/cache"))
    rendered = machine.declared(launch(digest="new"), below)
    spec: dict[str, Any] = {
        "name": "redis",
        "argv": ["/cache/redis-6-cd/bin/redis-server", PATH],
        "env": {},
        "cwd": "/data",
        "uid": 0,
        "nofile": 0,
        "digest": "old",
        "files": {str(tmp_path / "gone"): ""},
    }
    state = State(name="redis", pid=0, state="FATAL", restarts=0, uptime_s=0, looping=False)

    found = machine.found(spec, state, below)

    assert rendered.image == {"state": "running", "artifacts": "redis-7-ab", "code": "new"}
    assert found.image == {"state": "fatal", "artifacts": "redis-6-cd", "code": "old"}
    assert found.texts == {}


def planned(tmp_path: Path) -> dict[str, list[Container]]:
    here = hosted_site(fleet(), {"XDG_STATE_HOME": str(tmp_path)}, "test")
    chosen = [service for service in CATALOG.services if here.answers(service.name)]
    return servers.planned(here, chosen)


def attrs(one: Container, **state: object) -> dict[str, Any]:
    """What an engine says of the container."""
    launch = one.launch
    return {
        "State": {"Status": "running", "ExitCode": 0, **state},
        "Image": "sha256:ab",
        "Config": {
            "Env": ["PATH=/bin", *(f"{name}={value}" for name, value in launch.env.items())],
            "Entrypoint": [launch.argv[0]],
            "Cmd": list(launch.argv[1:]),
            "User": f"{one.uid}:{one.uid}",
        },
        "HostConfig": {
            "Memory": one.memory_bytes,
            "CapDrop": ["ALL"],
            "SecurityOpt": ["no-new-privileges"],
            "NetworkMode": "host",
        },
    }


def test_every_container_of_the_plan_is_looked_for_on_its_server(tmp_path: Path) -> None:
    found = planned(tmp_path)

    assert set(found) == {server.name for server in CATALOG.servers}
    assert "bootstrap" in {one.name for one in found["server-1"]}
    assert {"kafka-1"} == {one.name for one in found["server-1"] if one.name.startswith("kafka")}


def test_a_container_as_rendered_has_not_drifted(tmp_path: Path) -> None:
    for one in planned(tmp_path)["server-1"]:
        ended = {"Status": "exited"} if one.ends else {}
        declared = servers.declared(one, "sha256:ab")
        public = msgspec.structs.replace(declared, texts=environment(one.launch.env))

        assert differences(public, servers.inspected(one, attrs(one, **ended)), str) == []


def test_a_container_that_stopped_is_told_by_its_state(tmp_path: Path) -> None:
    one = planned(tmp_path)["server-1"][0]
    stopped = servers.inspected(one, attrs(one, Status="exited", ExitCode=137))

    [state, *_] = differences(servers.declared(one, "sha256:cd"), stopped, str)

    assert named([state]) == [(f"{one.name} state", "running", "exited 137")]


def row(name: str, *, days: int, hosts: tuple[str, ...] = ("a",)) -> Row:
    return Row(
        name=name, hosts=hosts, ends=NOW + timedelta(days=days), days_left=days, fingerprint=""
    )


def test_a_certificate_near_its_end_is_named() -> None:
    rows = [row("authority", days=29, hosts=()), row("kafka-1", days=30), row("kafka-2", days=29)]

    found = ages.certificates(rows, {})

    assert [(drift.name, drift.cure) for drift in found] == [
        ("tls.authority", Cure.ROTATE),
        ("tls.kafka-2", Cure.UP),
    ]


def test_a_certificate_for_other_hosts_is_named() -> None:
    found = ages.certificates([row("kafka-1", days=99)], {"kafka-1": ("b", "a")})

    assert named(found) == [("tls.kafka-1", "good for a, b", "good for a")]


def test_a_password_is_as_old_as_the_master_until_it_gets_another_version(tmp_path: Path) -> None:
    secrets.master(tmp_path)
    os.utime(tmp_path / secrets.MASTER, (0, 0))
    secrets.set_version(tmp_path, "redis", 1)
    secrets.set_version(tmp_path, "kafka", 2)

    found = {one.name: one.at.year for one in made(tmp_path, ["redis", "kafka"])}

    assert found["redis"] == 1970
    assert found["kafka"] >= 2026


def test_a_version_that_is_declared_again_is_not_made_younger(tmp_path: Path) -> None:
    secrets.set_version(tmp_path, "kafka", 2)
    os.utime(tmp_path / "versions" / "kafka", (0, 0))
    secrets.set_version(tmp_path, "kafka", 2)
    secrets.master(tmp_path)

    assert [one.at.year for one in made(tmp_path, ["kafka"])] == [1970]


@pytest.mark.parametrize(("days", "found"), [(365, []), (366, ["redis"])])
def test_a_password_of_more_than_a_year_is_old(days: int, found: list[str]) -> None:
    old = [Made(name="redis", at=NOW - timedelta(days=days))]

    assert [drift.name for drift in ages.old_passwords(old, NOW)] == found


def test_a_look_issues_nothing(tmp_path: Path) -> None:
    secrets.master(tmp_path)
    lookup, _ = standing(tmp_path, {"kafka-1": ("a",)})

    with pytest.raises(MissingError, match="no authority yet"):
        lookup("tls.ca")
    stack_vault(tmp_path, {"kafka-1": ("a",)}, now=now)("tls.ca")
    with pytest.raises(MissingError, match="`kafka-1` has no certificate yet"):
        lookup("tls.kafka-1.key")


def test_a_look_sees_the_certificate_that_is_there_though_it_is_due(tmp_path: Path) -> None:
    secrets.master(tmp_path)
    issued = stack_vault(tmp_path, {"kafka-1": ("a",)}, now=now)("tls.kafka-1.key")

    lookup, authority = standing(tmp_path, {"kafka-1": ("another host",)})

    assert lookup("tls.kafka-1.key") == issued
    assert [one.hosts for one in authority.rows()] == [(), ("a",)]


def test_a_stack_that_never_was_has_no_secrets(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match="never been up: run `make up`"):
        standing(tmp_path, {})


def test_a_store_that_is_away_hides_no_other() -> None:
    drift = Drift(kind=Kind.TOPIC, name="a", declared="1", live="2", cure=Cure.UP)

    def away() -> list[Drift]:
        raise UnavailableError("minio")

    found = report("x", [Look("minio", (Kind.INDEX,), away), Look("kafka", (), lambda: [drift])])

    assert found.drifts == (drift,)
    assert [one.sentence for one in found.away] == [
        "`minio` was not looked at (index): `minio` is unavailable"
    ]


DRIFT = Drift(kind=Kind.TOPIC, name="a", declared="1", live="2", cure=Cure.UP)
AWAY = Away(name="minio", kinds=(Kind.BUCKET_POLICY,), why="gone")


@pytest.mark.parametrize(
    ("drifts", "away", "code"),
    [((), (), 0), ((DRIFT,), (), 1), ((), (AWAY,), 2), ((DRIFT,), (AWAY,), 2)],
)
def test_the_exit_code_says_how_it_went(
    drifts: tuple[Drift, ...], away: tuple[Away, ...], code: int
) -> None:
    assert command.status(Report(stack="x", drifts=drifts, away=away)) == code


def test_the_findings_are_one_json_list() -> None:
    text = command.listed(Report(stack="x", drifts=(DRIFT,)))

    assert msgspec.json.decode(text) == [
        {
            "kind": "topic",
            "name": "a",
            "declared": "1",
            "live": "2",
            "cure": "up",
            "sentence": DRIFT.sentence("x"),
        }
    ]
