"""Artifacts are made once, verified, and survive being interrupted; programs here are scripts."""

import hashlib
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import msgspec
import pytest

from helix.errors import InvalidError, TopologyError, UnavailableError
from helix.topology.catalog import CATALOG
from helix.topology.model import Debian, Go, Locked, Maven, Wheels
from infra.artifacts import debian, fetch, flink, golang, maven
from infra.artifacts.commands import Commands, tail
from infra.artifacts.tools import GO, JAVA
from infra.artifacts.workshop import RECIPES, Workshop

ENGINE = Maven(name="engine", version="1", coordinates=("org.sample:engine:1",))
JAR_LOCK = maven.render_lock({"engine-1.jar": hashlib.sha256(b"jar").hexdigest()})
MVN = """#!/bin/sh
echo run >> "$0.runs"
for word; do case $word in -DoutputDirectory=*) lib=${word#*=} ;; esac; done
mkdir -p "$lib" && printf jar > "$lib/engine-1.jar"
"""


class Bench:
    """A cache, recipes and a folder of programs, all of this test alone."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.cache = folder / "cache"
        self.recipes = folder / "recipes"
        self.bin = folder / "bin"
        for made in (self.recipes, self.bin):
            made.mkdir()
        self.reported: list[str] = []
        (self.recipes / "engine.lock").write_text(JAR_LOCK)

    def program(self, name: str, text: str) -> Path:
        file = self.bin / name
        file.write_text(text)
        file.chmod(0o755)
        return file

    @property
    def commands(self) -> Commands:
        return Commands({"PATH": f"{self.bin}:{os.defpath}"})

    @property
    def shop(self) -> Workshop:
        return Workshop(self.cache, self.reported.append, self.commands, self.recipes)

    def ensure(self, artifact: Maven = ENGINE) -> Path:
        return fetch.ensure(
            artifact,
            cache=self.cache,
            report=self.reported.append,
            commands=self.commands,
            recipes=self.recipes,
        )

    def path(self) -> Path:
        return fetch.path(ENGINE, self.cache, recipes=self.recipes)

    def runs(self) -> int:
        return len((self.bin / "mvn.runs").read_text().splitlines())


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_an_artifact_is_made_once(bench: Bench) -> None:
    bench.program("mvn", MVN)

    first, second = bench.ensure(), bench.ensure()

    assert first == second == bench.path()
    assert (first / "lib" / "engine-1.jar").read_text() == "jar"
    assert bench.runs() == 1


def test_two_that_want_the_same_artifact_make_it_once(bench: Bench) -> None:
    bench.program("mvn", MVN)
    threads = [threading.Thread(target=bench.ensure) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert bench.runs() == 1


def test_an_artifact_can_be_read_by_other_accounts(bench: Bench) -> None:
    bench.program("mvn", MVN)

    assert bench.ensure().stat().st_mode & 0o777 == 0o755


def test_another_lock_is_another_folder(bench: Bench) -> None:
    before = bench.path()
    (bench.recipes / "engine.lock").write_text("00  engine-1.jar\n")

    assert bench.path() != before
    assert bench.path().name.startswith("engine-1-")


def test_other_coordinates_are_another_folder(bench: Bench) -> None:
    other = msgspec.structs.replace(ENGINE, coordinates=("org.sample:engine:2",))

    assert fetch.path(other, bench.cache, recipes=bench.recipes) != bench.path()


def test_looking_for_a_path_makes_nothing(bench: Bench) -> None:
    bench.path()

    assert not bench.cache.exists()


def test_a_jar_of_other_bytes_is_refused_by_name(bench: Bench) -> None:
    bench.program("mvn", MVN.replace("printf jar", "printf forged"))

    with pytest.raises(TopologyError, match=r"`engine-1\.jar` has other bytes than locked"):
        bench.ensure()
    assert not bench.path().exists()


def test_a_lock_that_is_missing_is_named_with_the_command_that_writes_it(bench: Bench) -> None:
    bench.program("mvn", MVN)
    (bench.recipes / "engine.lock").unlink()

    with pytest.raises(TopologyError, match=r"python -m infra\.artifacts lock engine"):
        bench.ensure()


def test_a_failure_shows_the_end_of_the_log_and_leaves_nothing_half_made(bench: Bench) -> None:
    bench.program("mvn", "#!/bin/sh\necho the reason\nexit 3\n")

    with pytest.raises(UnavailableError, match="the reason"):
        bench.ensure()
    assert {entry.name for entry in bench.cache.iterdir()} == {"locks", "logs"}


def test_a_missing_program_is_named_with_what_to_install(bench: Bench) -> None:
    commands = Commands({"PATH": str(bench.bin)})

    with pytest.raises(UnavailableError, match="`mvn` is not on PATH; install Maven"):
        fetch.ensure(
            ENGINE, cache=bench.cache, report=print, commands=commands, recipes=bench.recipes
        )


MAKE_AND_DIE = """
import sys
from pathlib import Path
from infra.artifacts import fetch
from infra.artifacts.commands import Commands
from helix.topology.model import Maven
folder = Path(sys.argv[1])
fetch.ensure(
    Maven(name="engine", version="1", coordinates=("org.sample:engine:1",)),
    cache=folder / "cache",
    report=lambda line: print(line, flush=True),
    commands=Commands({"PATH": f"{folder / 'bin'}:/usr/bin:/bin"}),
    recipes=folder / "recipes",
)
"""


def test_a_killed_run_is_swept_and_made_anew(bench: Bench) -> None:
    # It writes its own pid, then half a jar, then waits to be killed.
    bench.program("mvn", f"#!/bin/sh\necho $$ > {bench.folder}/pid\n{MVN}\nexec sleep 60\n")
    with subprocess.Popen(
        [sys.executable, "-c", MAKE_AND_DIE, str(bench.folder)],
        stdout=subprocess.PIPE,
        cwd=RECIPES.parents[1],
    ) as victim:
        assert victim.stdout is not None
        victim.stdout.readline()
        while not list(bench.cache.glob(".engine*/lib/engine-1.jar")):
            assert victim.poll() is None
        victim.kill()
    os.kill(int((bench.folder / "pid").read_text()), signal.SIGKILL)
    left = list(bench.cache.glob(".engine*"))
    bench.program("mvn", MVN)

    made = bench.ensure()

    assert len(left) == 1
    assert (made / "lib" / "engine-1.jar").read_text() == "jar"
    assert not list(bench.cache.glob(".engine*"))


def test_a_folder_without_its_stamp_is_made_anew(bench: Bench) -> None:
    bench.program("mvn", MVN)
    (bench.ensure() / fetch.STAMP).unlink()

    bench.ensure()

    assert bench.runs() == 2


def test_stopping_ends_a_program_with_its_children(bench: Bench) -> None:
    bench.program("parent", f"#!/bin/sh\nsleep 60 &\necho $! > {bench.folder}/child\nwait\n")
    commands, log = bench.commands, bench.folder / "log"
    failures: list[UnavailableError] = []

    def work() -> None:
        try:
            commands.run(("parent",), log=log)
        except UnavailableError as error:
            failures.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    child = bench.folder / "child"
    while not (child.exists() and child.read_text()):
        assert thread.is_alive()
    commands.stop()
    thread.join()

    assert len(failures) == 1
    deadline = time.monotonic() + 10
    while not _dead(int(child.read_text())):
        assert time.monotonic() < deadline


def _dead(pid: int) -> bool:
    """Gone, or waiting to be reaped by whoever adopted it."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return True


def test_nothing_starts_after_a_stop(bench: Bench) -> None:
    commands = bench.commands
    commands.stop()

    with pytest.raises(UnavailableError, match="stopping"):
        commands.run(("true",), log=bench.folder / "log")


def test_a_tail_is_the_last_lines(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("".join(f"line {number}\n" for number in range(100)))

    assert tail(log, lines=2) == "  | line 98\n  | line 99"


def test_a_project_file_carries_group_artifact_version_and_classifier() -> None:
    text = maven.pom(Maven(name="a", version="1", coordinates=("g:b:2:tests",)))

    for part in ("<groupId>g<", "<artifactId>b<", "<version>2<", "<classifier>tests<"):
        assert part in text
    assert "exclusion" not in text


def test_jars_that_carry_their_own_dependencies_come_alone() -> None:
    text = maven.pom(Maven(name="a", version="1", coordinates=("g:b:2",), transitive=False))

    assert "<exclusion>" in text


def test_a_coordinate_without_version_is_refused() -> None:
    with pytest.raises(TopologyError, match="`g:b` is no Maven coordinate"):
        maven.pom(Maven(name="a", version="1", coordinates=("g:b",)))


def test_a_lock_reads_back_what_was_written() -> None:
    digests = {"b.jar": "2" * 64, "a.jar": "1" * 64}

    text = maven.render_lock(digests)

    assert maven.parse_lock(text) == digests
    assert text.splitlines() == sorted(text.splitlines(), key=lambda line: line.split()[1])


def test_missing_extra_and_changed_jars_are_each_named() -> None:
    wrong = maven.differences({"new.jar": "1", "same.jar": "2", "odd.jar": "3"}, LOCKED)

    assert wrong == [
        "`gone.jar` is missing",
        "`new.jar` is not in the lock file",
        "`odd.jar` has other bytes than locked",
    ]


LOCKED = {"gone.jar": "1", "same.jar": "2", "odd.jar": "4"}


@pytest.mark.parametrize("artifact", [*CATALOG.artifacts, GO, JAVA], ids=lambda a: a.name)
def test_every_artifact_is_pinned_by_files_of_the_project(artifact: object) -> None:
    if isinstance(artifact, (Maven, Go, Wheels)):
        assert all(file.exists() for file in fetch.ingredients(artifact, RECIPES))
    else:
        assert isinstance(artifact, (Debian, Locked))


@pytest.mark.parametrize("artifact", CATALOG.artifacts, ids=lambda a: a.name)
def test_the_named_jars_are_in_the_lock(artifact: object) -> None:
    if not isinstance(artifact, Maven):
        return
    locked = maven.parse_lock((RECIPES / f"{artifact.name}.lock").read_text())
    for coordinate in artifact.coordinates:
        _, name, version, *classifier = coordinate.split(":")
        assert "-".join((name, version, *classifier)) + ".jar" in locked


@pytest.mark.parametrize("artifact", CATALOG.artifacts, ids=lambda a: a.name)
def test_the_module_file_names_the_version_of_the_catalogue(artifact: object) -> None:
    if isinstance(artifact, Go):
        text = (RECIPES / artifact.name / "go.mod").read_text()
        assert f"{artifact.module} v{artifact.version}" in text


def test_an_old_go_is_not_used(bench: Bench) -> None:
    bench.program("go", "#!/bin/sh\necho go version go1.22.9 linux/amd64\n")

    assert golang.find(bench.shop) is None


def test_a_new_go_is_used(bench: Bench) -> None:
    go = bench.program("go", "#!/bin/sh\necho go version go1.27rc1 linux/amd64\n")

    assert golang.find(bench.shop) == go


def test_a_build_never_changes_its_module_file(bench: Bench) -> None:
    (bench.recipes / "tool").mkdir()
    go = bench.program("go", '#!/bin/sh\necho "$GOFLAGS" "$@"\n')
    artifact = Go(name="tool", version="1", module="m", package="m/cmd", linker_flags="-s")

    made = bench.folder / "made"
    made.mkdir()

    golang.make(artifact, made, bench.shop, go=go)

    said = bench.shop.log("tool").read_text()
    assert "-mod=readonly" in said
    assert f"-o {made}/bin/ m/cmd" in said


@pytest.fixture
def moduled(bench: Bench) -> Path:
    """A `go` whose modules all lie in one folder with a single file."""
    source = bench.folder / "module"
    (source / "stages").mkdir(parents=True)
    (source / "stages" / "ready.yaml").write_text("ready")
    (bench.recipes / "tool").mkdir()
    return bench.program("go", f'#!/bin/sh\n[ "$1" = list ] && echo {source}\nexit 0\n')


def test_files_of_the_module_lie_beside_the_program(bench: Bench, moduled: Path) -> None:
    artifact = Go(name="tool", version="1", module="m", package="m/cmd", files=("stages/*.yaml",))
    made = bench.folder / "made"
    made.mkdir()

    golang.make(artifact, made, bench.shop, go=moduled)

    assert (made / "stages" / "ready.yaml").read_text() == "ready"


def test_files_the_module_does_not_have_are_named(bench: Bench, moduled: Path) -> None:
    artifact = Go(name="tool", version="1", module="m", package="m/cmd", files=("gone/*.yaml",))
    made = bench.folder / "made"
    made.mkdir()

    with pytest.raises(InvalidError, match="`tool`: the module has no `gone/"):
        golang.make(artifact, made, bench.shop, go=moduled)


def test_an_edited_program_of_ours_is_another_artifact(bench: Bench) -> None:
    artifact = Go(name="tool", version="1", module="m", package="m/cmd")
    (bench.recipes / "tool").mkdir()
    before = fetch.path(artifact, bench.cache, recipes=bench.recipes)

    (bench.recipes / "tool" / "main.go").write_text("package main")

    assert fetch.path(artifact, bench.cache, recipes=bench.recipes) != before


@pytest.mark.parametrize(
    ("version", "major"), [("5:7.0.15-1~deb12u5", "7"), ("15.14-0", "15"), ("", "")]
)
def test_a_major_version_is_read_past_the_epoch(version: str, major: str) -> None:
    assert debian.major(version) == major


def test_an_unknown_system_package_is_missing() -> None:
    nowhere = Debian(name="nowhere", version="1", packages=("helix-no-such-package",))

    assert debian.missing([nowhere]) == ["helix-no-such-package"]


def test_without_a_package_manager_the_command_to_run_is_told(tmp_path: Path) -> None:
    shop = Workshop(tmp_path, print, Commands({"PATH": str(tmp_path)}))

    with pytest.raises(UnavailableError, match=r"install .* redis-server rabbitmq"):
        debian.install(["redis-server", "rabbitmq-server"], shop)


def test_services_are_left_alone_only_for_the_time_of_an_installation(tmp_path: Path) -> None:
    policy = tmp_path / "policy-rc.d"

    with debian.services_left_alone(policy):
        answer = subprocess.run([policy], check=False).returncode

    assert answer == 101
    assert not policy.exists()


def test_somebody_elses_policy_stays(tmp_path: Path) -> None:
    policy = tmp_path / "policy-rc.d"
    policy.write_text("theirs")

    with debian.services_left_alone(policy):
        pass

    assert policy.read_text() == "theirs"


def test_a_policy_left_by_a_killed_installation_is_removed_by_the_next(tmp_path: Path) -> None:
    policy = tmp_path / "policy-rc.d"
    policy.write_text(debian.POLICY_TEXT)

    with debian.services_left_alone(policy):
        pass

    assert not policy.exists()


def test_flinks_home_has_scripts_that_run_and_jars_where_they_belong(tmp_path: Path) -> None:
    unpacked, home, jars = (tmp_path / name for name in ("unpacked", "home", "jars"))
    for name in ("bin/flink.sh", "lib/flink-dist.jar", "opt/flink-python.jar", "plugins/README"):
        file = unpacked / "pyflink" / name
        file.parent.mkdir(parents=True)
        file.touch(mode=0o644)
    (jars / "lib").mkdir(parents=True)
    for name in ("flink-sql-gateway-2.jar", "flink-s3-fs-hadoop-2.jar", "iceberg-1.jar"):
        (jars / "lib" / name).touch()
    home.mkdir()

    flink.assemble(unpacked, home, jars)

    found = {str(f.relative_to(home)) for f in home.rglob("*") if f.is_file()}
    assert found == {
        "bin/flink.sh",
        "lib/flink-dist.jar",
        "lib/iceberg-1.jar",
        "opt/flink-python.jar",
        "opt/flink-sql-gateway-2.jar",
        "plugins/README",
        "plugins/s3-fs-hadoop/flink-s3-fs-hadoop-2.jar",
    }
    assert (home / "bin" / "flink.sh").stat().st_mode & 0o111
    assert not unpacked.exists()


def test_wheels_of_another_layout_are_refused(tmp_path: Path) -> None:
    with pytest.raises(TopologyError, match="check the versions"):
        flink.assemble(tmp_path / "unpacked", tmp_path, tmp_path)


def test_the_cache_is_the_users(tmp_path: Path) -> None:
    assert fetch.cache_folder({"HOME": "/home/ann"}) == Path("/home/ann/.cache/helix")
    assert fetch.cache_folder({"XDG_CACHE_HOME": str(tmp_path)}) == tmp_path / "helix"


def test_a_package_of_the_environment_is_where_it_is_installed() -> None:
    artifact = Locked(name="m", version="1", package="msgspec")

    assert fetch.path(artifact, Path("/nowhere")) == Path(msgspec.__file__).parent


def test_a_package_that_is_not_installed_says_what_to_run() -> None:
    artifact = Locked(name="m", version="1", package="helix_no_such_package")

    with pytest.raises(UnavailableError, match="make setup"):
        fetch.path(artifact, Path("/nowhere"))


def test_what_go_locks_is_not_locked_here(bench: Bench) -> None:
    with pytest.raises(InvalidError, match="go get -tool"):
        fetch.lock(Go(name="tool", version="1", module="m", package="m/cmd"), bench.shop)


def test_locking_writes_what_the_coordinates_resolve_to(bench: Bench) -> None:
    bench.program("mvn", MVN)
    (bench.recipes / "engine.lock").unlink()

    written = fetch.lock(ENGINE, bench.shop)

    assert written.read_text() == JAR_LOCK
