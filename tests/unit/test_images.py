"""Images as values: what is put in, what is fetched from where, what is locked."""

import io
import tarfile
from pathlib import Path

import msgspec
import pytest

from helix.errors import InvalidError, TopologyError, UnavailableError
from helix.topology.catalog import CATALOG
from helix.topology.model import Image
from infra.images import lock, mirror
from infra.images.__main__ import main
from infra.images.references import reference_of
from infra.images.staging import context, copies, files
from tests.tree import ROOT

KAFKA = CATALOG.image("kafka")
APP = CATALOG.image("app")
DIGEST = f"sha256:{'0' * 64}"


def put_in(folder: Path) -> dict[str, Path]:
    """An artifact as fetching leaves it, and the files of an image that adds it."""
    jar = folder / "lib" / "jmx_prometheus_javaagent-1.0.1.jar"
    jar.parent.mkdir(exist_ok=True)
    jar.write_bytes(b"jar")
    return files(KAFKA, root=ROOT, artifact=lambda _: folder)


def names(archive: bytes) -> list[str]:
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        return tar.getnames()


@pytest.mark.parametrize("image", [one for one in CATALOG.images if one.base], ids=lambda i: i.name)
def test_every_image_of_ours_says_where_its_parts_go(image: Image) -> None:
    assert len(copies(image)) == len(image.adds)
    assert image.adds or image.name == "app"


def test_a_part_goes_where_the_longest_name_says() -> None:
    assert [str(place) for place in copies(KAFKA).values()] == [
        "/opt/kafka/libs/jmx_prometheus_javaagent-1.0.1.jar"
    ]


def test_a_part_without_place_is_refused() -> None:
    image = msgspec.structs.replace(KAFKA, adds=("strange/lib",))

    with pytest.raises(TopologyError, match="`kafka` adds `strange/lib`"):
        copies(image)


def test_a_folder_is_put_in_whole_without_its_marks(tmp_path: Path) -> None:
    (tmp_path / "one.jar").touch()
    (tmp_path / ".complete").touch()
    found = files(CATALOG.image("iceberg-rest"), root=ROOT, artifact=lambda _: tmp_path)

    assert found == {"/opt/iceberg-rest/one.jar": tmp_path / "one.jar"}


def test_an_artifact_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match="artifacts ensure kafka"):
        files(KAFKA, root=ROOT, artifact=lambda _: tmp_path)


def test_the_same_parts_give_the_same_bytes(tmp_path: Path) -> None:
    first = context(KAFKA, put_in(tmp_path), root=ROOT)
    second = context(KAFKA, put_in(tmp_path), root=ROOT)

    assert first == second
    assert names(first) == ["Dockerfile", "parts.tar"]


def test_parts_bring_no_folders_of_their_own(tmp_path: Path) -> None:
    sent = context(KAFKA, put_in(tmp_path), root=ROOT)
    with tarfile.open(fileobj=io.BytesIO(sent)) as tar:
        parts = tar.extractfile("parts.tar")
        assert parts
        assert names(parts.read()) == ["opt/kafka/libs/jmx_prometheus_javaagent-1.0.1.jar"]


def test_the_programs_image_holds_the_programs_and_no_tests() -> None:
    found = files(APP, root=ROOT, artifact=Path)

    assert "/opt/helix/helix/topology/catalog.py" in found
    assert {name.split("/")[3] for name in found} == {
        "helix",
        "controlplane",
        "runtime",
        "infra",
        "sql",
        "validation",
        "loadtest",
    }
    assert not [name for name in found if "__pycache__" in name or name.endswith(".yaml")]


@pytest.mark.parametrize(
    ("overrides", "locked", "runs"),
    [
        ({}, {}, KAFKA.reference),
        ({}, {"kafka": "by-digest"}, "by-digest"),
        ({"*": "one-for-all"}, {"kafka": "by-digest"}, "one-for-all"),
        ({"*": "one-for-all", "kafka": "by-name"}, {}, "by-name"),
    ],
)
def test_what_is_run_is_the_stacks_word_then_the_lock_then_the_tag(
    overrides: dict[str, str], locked: dict[str, str], runs: str
) -> None:
    assert reference_of(KAFKA, overrides, locked) == runs


def test_locking_writes_what_reading_reads(tmp_path: Path) -> None:
    path = tmp_path / "images.lock"
    path.write_text(lock.locked(CATALOG, lambda _: DIGEST))

    rows = lock.read(path)

    assert rows["zookeeper"] == f"zookeeper:3.9.4@{DIGEST}"
    assert rows["kafka/base"] == f"apache/kafka:4.3.0@{DIGEST}"
    assert "kafka" not in rows
    assert lock.current(rows, CATALOG) == rows


def test_a_row_of_another_version_is_not_run() -> None:
    assert lock.current({"zookeeper": f"zookeeper:3.8.0@{DIGEST}"}, CATALOG) == {}


def test_a_row_without_digest_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "images.lock"
    path.write_text("zookeeper zookeeper:3.9.4\n")

    with pytest.raises(InvalidError, match="has no digest"):
        lock.read(path)


def test_the_trees_own_lock_can_be_read() -> None:
    rows = lock.read()

    assert lock.current(rows, CATALOG) == rows


def test_a_mirror_gets_every_image_and_every_base() -> None:
    rows = mirror.commands(CATALOG, "registry.example/helix/")
    sent = {row[2] for row in rows if row[1] == "push"}

    assert ("docker", "pull", "apache/kafka:4.3.0") in rows
    assert ("docker", "pull", "helix/kafka:4.3.0") not in rows
    for image in CATALOG.images:
        assert f"registry.example/helix/{image.reference}" in sent


def test_a_mirror_is_only_printed_unless_asked(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["mirror", "--to", "registry.example/x"], {}) == 0

    said = capsys.readouterr().out
    assert said.startswith("docker pull zookeeper:3.9.4\n")
    assert '"kafka": "registry.example/x/helix/kafka:4.3.0"' in said


def test_an_image_that_is_not_ours_is_not_built(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["build", "postgres"], {}) == 1
    assert "names of kafka, neo4j" in capsys.readouterr().err
