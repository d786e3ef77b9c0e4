"""Docker resources as programs declare them, through the real Pulumi on a real engine.

Whichever plugin the command line has serves them: the official one, or the stand-in.
"""

import contextlib
import io
import os
import signal
import stat
import tarfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pulumi
import pulumi_docker
import pytest
from docker.errors import NotFound
from pulumi import automation

from infra.certificates.issuing import new_root
from infra.toolchain.plugins.docker import bodies
from infra.toolchain.plugins.docker.containers import MAKING
from infra.toolchain.pulumi import command
from tests.integration.fleet.conftest import IMAGE, Engine
from tests.integration.loops import closed_loops
from tests.waiting import until

pytestmark = [pytest.mark.integration, pytest.mark.enable_socket]

SECRET = "correct-horse-battery"
MIB = 1024 * 1024
BAD_END = "the disk is on fire"
# Ends at once when it is told to, and has not to be killed.
SERVE = "trap 'exit 0' TERM; : > /tmp/ok; while :; do sleep 0.1; done"


class Hidden(str):
    """A text that the program declares as a secret."""

    __slots__ = ()


def declared(value: Any) -> Any:
    """The value as a program gives it: outputs live in the loop of one run."""
    if isinstance(value, dict):
        return {key: declared(item) for key, item in value.items()}
    if isinstance(value, list):
        return [declared(item) for item in value]
    return pulumi.Output.secret(str(value)) if isinstance(value, Hidden) else value


def file(server: Engine, container: str, path: str) -> tuple[tarfile.TarInfo, str]:
    """The entry and the text of a container's file."""
    parts, _ = server.api.get_archive(container, path)
    with tarfile.open(fileobj=io.BytesIO(b"".join(parts))) as tar:
        (entry,) = tar.getmembers()
        content = tar.extractfile(entry)
        assert content
        return entry, content.read().decode()


@pytest.fixture
def server(engine: Engine) -> Engine:
    return engine


@dataclass
class Program:
    """One container with a volume; what a test turns is a field."""

    server: Engine
    provider: dict[str, Any] = field(default_factory=dict[str, Any])
    image: str = IMAGE
    more: dict[str, Any] = field(default_factory=dict[str, Any])
    kept: bool = False

    def __call__(self) -> None:
        settings = declared(self.provider or {"host": self.server.url})
        engine = pulumi_docker.Provider("engine", **settings)
        own = pulumi.ResourceOptions(provider=engine)
        image = pulumi_docker.RemoteImage("image", name=self.image, keep_locally=True, opts=own)
        volume = pulumi_docker.Volume(
            "data",
            name="data",
            opts=pulumi.ResourceOptions(provider=engine, retain_on_delete=self.kept),
        )
        given: dict[str, Any] = {
            "name": "web",
            "command": ["sh", "-c", SERVE],
            "network_mode": "none",
            "envs": ["STAGE=one"],
            "mounts": [{"type": "volume", "source": volume.name, "target": "/data"}],
            "memory": 64,
            "memory_swap": 64,
            "healthcheck": {
                "tests": ["CMD-SHELL", "test -e /tmp/ok"],
                "interval": "300ms",
                "timeout": "2s",
                "retries": 3,
            },
            "wait": True,
            "wait_timeout": 20,
            "destroy_grace_seconds": 5,
            **declared(self.more),
        }
        web = pulumi_docker.Container("web", image=image.image_id, opts=own, **given)
        pulumi.export("exit_code", web.exit_code)
        pulumi.export("logs", web.container_logs)


def counts(summary: automation.UpdateSummary) -> dict[str, int]:
    return {str(operation): count for operation, count in (summary.resource_changes or {}).items()}


@dataclass
class Stack:
    program: Program
    pulumi: automation.Stack
    backend: Path

    def up(self) -> dict[str, int]:
        """How many resources were made, changed and left alone."""
        return counts(self.pulumi.up().summary)

    def preview(self) -> dict[str, int]:
        summary = self.pulumi.preview().change_summary
        return {str(operation): count for operation, count in summary.items()}

    def refresh(self) -> dict[str, int]:
        return counts(self.pulumi.refresh().summary)

    def state(self) -> str:
        """What lies on disk; an export through the API would have its secrets opened."""
        return (self.backend / ".pulumi" / "stacks" / "plug" / "test.json").read_text()

    def output(self, name: str) -> Any:
        return self.pulumi.outputs()[name].value


@pytest.fixture
def loops(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with closed_loops(monkeypatch):
        yield


@pytest.fixture
def stack(
    server: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, loops: None
) -> Iterator[Stack]:
    del loops  # only have to be closed
    for name in ("state", "pulumi", "work"):
        (tmp_path / name).mkdir()
    own = {
        "PULUMI_HOME": str(tmp_path / "pulumi"),
        "PULUMI_BACKEND_URL": f"file://{tmp_path / 'state'}",
        "PULUMI_CONFIG_PASSPHRASE": "",
    }
    cli = command({**os.environ, **own})  # noqa: TID251 - the composition root of the test
    monkeypatch.setenv("PATH", str(Path(cli.argv0).parent), prepend=os.pathsep)
    program = Program(server)
    made = automation.create_or_select_stack(
        "test",
        project_name="plug",
        program=program,
        opts=automation.LocalWorkspaceOptions(
            work_dir=str(tmp_path / "work"),
            env_vars={key: value for key, value in cli.env.items() if key.startswith("PULUMI_")},
        ),
    )
    yield Stack(program, made, tmp_path / "state")
    made.destroy()
    with contextlib.suppress(NotFound):
        server.api.remove_volume("data")


def test_a_stack_goes_up_once_changes_in_place_or_anew_and_goes_down(
    stack: Stack, server: Engine
) -> None:
    assert stack.preview() == {"create": 5}
    assert stack.up() == {"create": 5}
    assert stack.up() == {"same": 5}
    first = server.inspect("web")
    assert first["HostConfig"]["Memory"] == 64 * MIB

    stack.program.more = {"memory": 96, "memory_swap": 96}
    assert stack.up() == {"same": 4, "update": 1}
    second = server.inspect("web")
    assert second["Id"] == first["Id"]
    assert second["HostConfig"]["Memory"] == 96 * MIB

    stack.program.more["envs"] = ["STAGE=two"]
    assert stack.preview() == {"same": 4, "replace": 1}
    assert stack.up() == {"same": 4, "replace": 1}
    third = server.inspect("web")
    assert third["Id"] != first["Id"]
    assert "STAGE=two" in third["Config"]["Env"]
    assert third["State"]["Health"]["Status"] == "healthy"

    stack.pulumi.destroy()
    assert server.names() == set()
    assert not server.api.volumes()["Volumes"]
    assert server.api.images(IMAGE)


def test_no_secret_of_a_file_or_a_variable_is_in_the_state(stack: Stack, server: Engine) -> None:
    stack.program.more = {
        "envs": [Hidden(f"TOKEN={SECRET}")],
        "uploads": [
            {
                "file": "/etc/web/password",
                "content": Hidden(f"password={SECRET}"),
                "permissions": "0400",
                "owner": "77",
            }
        ],
    }
    stack.up()

    entry, text = file(server, "web", "/etc/web/password")
    assert text == f"password={SECRET}"
    assert (stat.S_IMODE(entry.mode), entry.uid) == (0o400, 77)
    assert SECRET not in stack.state()
    assert stack.up() == {"same": 5}

    stack.program.more["uploads"][0]["content"] = Hidden("password=another")
    assert stack.up() == {"same": 4, "replace": 1}


def test_what_was_done_behind_its_back_shows_and_is_mended(stack: Stack, server: Engine) -> None:
    stack.up()
    assert stack.refresh() == {"same": 5}

    server.api.update_container("web", mem_limit=32 * MIB, memswap_limit=64 * MIB)
    assert stack.refresh() == {"same": 4, "update": 1}
    assert stack.up() == {"same": 4, "update": 1}
    assert server.inspect("web")["HostConfig"]["Memory"] == 64 * MIB

    server.api.stop("web", timeout=5)
    assert stack.refresh() == {"same": 4, "update": 1}
    assert stack.up() == {"same": 4, "update": 1}
    assert server.inspect("web")["State"]["Health"]["Status"] == "healthy"

    server.api.remove_container("web", force=True)
    assert stack.refresh() == {"same": 4, "delete": 1}
    assert stack.up() == {"same": 4, "create": 1}
    assert server.names() == {"web"}


def test_a_container_that_ends_is_told_of_with_its_last_words(stack: Stack, server: Engine) -> None:
    stack.program.more = {
        "envs": [Hidden(f"TOKEN={SECRET}")],
        "command": ["sh", "-c", f"echo {BAD_END}; echo $TOKEN; exit 3"],
    }
    with pytest.raises(automation.CommandError, match=BAD_END) as refused:
        stack.up()

    assert "it ended with 3" in str(refused.value)
    assert SECRET not in str(refused.value)
    assert server.names() == set()


def test_a_container_that_is_never_healthy_is_told_of_with_its_checks_words(
    stack: Stack, server: Engine
) -> None:
    test = ["CMD-SHELL", f"echo {BAD_END}; exit 1"]
    stack.program.more = {
        "healthcheck": {"tests": test, "interval": "300ms", "timeout": "2s", "retries": 1},
        "wait_timeout": 2,
    }
    with pytest.raises(automation.CommandError, match="not healthy within 2 s") as refused:
        stack.up()

    assert BAD_END in str(refused.value)
    assert server.names() == set()


def test_a_task_is_waited_for_and_gives_its_end_and_its_log(stack: Stack, server: Engine) -> None:
    stack.program.more = {
        "command": ["sh", "-c", "sleep 0.5; echo done; exit 7"],
        "healthcheck": None,
        "wait": None,
        "attach": True,
        "logs": True,
        "must_run": False,
    }
    stack.up()

    assert stack.output("exit_code") == 7
    assert stack.output("logs") == "done"
    assert stack.refresh() == {"same": 5}
    assert stack.up() == {"same": 5}
    assert server.names() == {"web"}


def test_a_volume_that_is_kept_outlives_the_stack_with_its_data(
    stack: Stack, server: Engine
) -> None:
    stack.program.kept = True
    stack.program.more = {"command": ["sh", "-c", f"echo kept >> /data/log; {SERVE}"]}
    stack.up()
    stack.pulumi.destroy()
    assert [each["Name"] for each in server.api.volumes()["Volumes"]] == ["data"]

    stack.up()
    assert file(server, "web", "/data/log")[1] == "kept\nkept\n"


def test_a_name_that_is_taken_is_left_alone_but_an_interrupted_create_is_not(
    stack: Stack, server: Engine
) -> None:
    def beside(name: str, labels: dict[str, str]) -> str:
        config = {"Image": IMAGE, "Cmd": ["sh"], "Labels": labels}
        return str(server.api.create_container_from_config(config, name)["Id"])

    stranger = beside("web", {})
    with pytest.raises(automation.CommandError, match="docker rm --force web"):
        stack.up()
    assert server.inspect("web")["Id"] == stranger
    server.api.remove_container(stranger)

    stranger = beside(f"web{MAKING}", {})
    with pytest.raises(automation.CommandError, match="being made by somebody else"):
        stack.up()
    server.api.remove_container(stranger)

    urn = "urn:pulumi:test::plug::docker:index/container:Container::web"
    beside(f"web{MAKING}", {bodies.URN: urn})
    stack.up()
    assert server.names() == {"web"}


def test_an_image_that_cannot_be_had_is_named_with_its_server(stack: Stack, server: Engine) -> None:
    stack.program.image = "127.0.0.1:9/no-such-image:1"
    with pytest.raises(automation.CommandError, match="docker load") as refused:
        stack.up()

    assert "127.0.0.1:9/no-such-image:1" in str(refused.value)
    assert server.url in str(refused.value)


def test_an_engine_behind_tls_is_reached_with_certificates_and_never_without(
    stack: Stack, server: Engine
) -> None:
    stack.program.provider = {
        "host": server.tls,
        "ca_material": server.authority.certificate,
        "cert_material": server.client.certificate,
        "key_material": Hidden(server.client.key),
    }
    stack.up()
    assert server.names() == {"web"}
    assert "PRIVATE KEY" not in stack.state()
    stack.pulumi.destroy()

    stranger = new_root("other", datetime.now(UTC))  # noqa: TID251 - as the engine's own
    stack.program.provider["ca_material"] = stranger.certificate
    with pytest.raises(automation.CommandError, match="no Docker engine answers at") as refused:
        stack.up()
    assert server.tls in str(refused.value)


def test_an_engine_behind_ssh_is_reached_through_the_users_own_ssh(
    stack: Stack, server: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ssh = tmp_path / "bin" / "ssh"
    ssh.parent.mkdir()
    ssh.write_text(
        "#!/bin/sh\n"
        f'echo "$@" >> {tmp_path}/dialled\n'
        f"exec docker --host {server.url} system dial-stdio\n"
    )
    ssh.chmod(0o755)
    monkeypatch.setenv("PATH", str(ssh.parent), prepend=os.pathsep)
    stack.program.provider = {"host": "ssh://root@lone"}

    stack.up()

    assert server.names() == {"web"}
    assert "lone" in (tmp_path / "dialled").read_text()


def test_what_is_not_served_is_refused_by_name(stack: Stack) -> None:
    stack.program.more = {"privileged": True}

    with pytest.raises(automation.CommandError, match="privileged"):
        stack.up()


def command_line() -> int:
    """The process of the `pulumi` that we started."""
    for stat_file in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            name, _, fields = stat_file.read_text().partition(") ")
            if name.endswith("(pulumi") and int(fields.split()[1]) == os.getpid():
                return int(stat_file.parent.name)
    raise AssertionError("no `pulumi` of ours runs")


def test_what_a_killed_command_was_making_is_taken_away(stack: Stack, server: Engine) -> None:
    stack.program.more = {"healthcheck": {"tests": ["CMD-SHELL", "exit 1"], "interval": "1s"}}
    with ThreadPoolExecutor() as pool:
        up = pool.submit(stack.up)
        until(lambda: server.names() == {f"web{MAKING}"}, s_max=60, what="a create")
        os.kill(command_line(), signal.SIGKILL)

    assert isinstance(up.exception(), automation.CommandError)
    until(lambda: server.names() == set(), s_max=30, what="nothing left of it")
    stack.pulumi.cancel()
