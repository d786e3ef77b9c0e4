"""The stand-in Docker plugin: what it takes, what it makes of it, and what it refuses."""

import io
import json
import subprocess
import sys
import tarfile
from typing import Any

import msgspec
import pytest
from pulumi.provider.experimental import provider
from pulumi.provider.experimental.property_value import PropertyValue

from helix.errors import InvalidError
from infra.provider.values import COMPUTED, wrap, wrap_all
from infra.toolchain.plugins.docker import bodies, wire
from infra.toolchain.plugins.docker.inputs import KINDS, Container, Settings, Upload
from infra.toolchain.plugins.docker.plugin import named
from infra.toolchain.plugins.docker.server import ssh_command
from tests.tree import ROOT

CONTAINER = "docker:index/container:Container"
IMAGE = "docker:index/remoteImage:RemoteImage"
URN = f"urn:pulumi:dev::helix::{CONTAINER}::web"
GIVEN: dict[str, Any] = {
    "name": "web",
    "image": "web:1",
    "entrypoints": ["server"],
    "command": ["--port", "1"],
    "envs": ["A=1", "B=2"],
    "memory": 64,
    "memorySwap": 64,
    "cpus": "0.5",
    "restart": "unless-stopped",
}


def container(**more: object) -> Container:
    return msgspec.convert({**GIVEN, **more}, Container)


def inspected(**more: object) -> dict[str, Any]:
    """A container as an engine describes it when nothing was changed."""
    host = {
        "Memory": 64 * bodies.BYTES_PER_MIB,
        "MemorySwap": 64 * bodies.BYTES_PER_MIB,
        "CpuShares": 0,
        "CpusetCpus": "",
        "NanoCpus": bodies.NANOS_PER_CORE // 2,
        "RestartPolicy": {"Name": "unless-stopped"},
    }
    return {
        "Image": "sha256:1",
        "Config": {"Hostname": "h", "Env": ["PATH=/bin", "A=1", "B=2"]},
        "HostConfig": {**host, **more},
        "State": {"Running": True, "ExitCode": 0},
        "NetworkSettings": {"Bridge": "", "Networks": {}},
    }


def faults(token: str = CONTAINER, **given: object) -> dict[str, str]:
    found = wire.faults(KINDS[token].inputs, wrap_all({**GIVEN, **given}))
    return {fault.property: fault.reason for fault in found}


def difference(
    new: dict[str, Any], old: dict[str, Any] = GIVEN, token: str = CONTAINER
) -> provider.DiffResponse:
    request = provider.DiffRequest(URN, "id", wrap_all(old), wrap_all(new), [])
    return wire.difference(KINDS[token], request)


def test_a_container_becomes_the_engines_own_words() -> None:
    body = bodies.container(container(labels=[{"label": "of", "value": "helix"}]), URN)

    assert body == {
        "Image": "web:1",
        "Entrypoint": ["server"],
        "Cmd": ["--port", "1"],
        "Env": ["A=1", "B=2"],
        "Labels": {"of": "helix", bodies.URN: URN},
        "HostConfig": {
            "ReadonlyRootfs": False,
            "Memory": 64 * 1024 * 1024,
            "MemorySwap": 64 * 1024 * 1024,
            "NanoCpus": 500_000_000,
            "RestartPolicy": {"Name": "unless-stopped", "MaximumRetryCount": 0},
            "AutoRemove": False,
        },
    }


def test_every_kind_of_storage_has_its_place() -> None:
    host = bodies.container(
        container(
            mounts=[
                {"type": "volume", "source": "data", "target": "/data"},
                {"type": "bind", "source": "/opt", "target": "/opt", "readOnly": True},
                {"type": "tmpfs", "target": "/run", "tmpfsOptions": {"sizeBytes": 9, "mode": 493}},
            ],
            volumes=[{"volumeName": "log", "containerPath": "/log", "readOnly": True}],
            tmpfs={"/tmp": "size=1m"},
        ),
        URN,
    )["HostConfig"]

    assert host["Mounts"] == [
        {"Type": "volume", "Target": "/data", "Source": "data", "ReadOnly": False},
        {"Type": "bind", "Target": "/opt", "Source": "/opt", "ReadOnly": True},
        {
            "Type": "tmpfs",
            "Target": "/run",
            "ReadOnly": False,
            "TmpfsOptions": {"SizeBytes": 9, "Mode": 0o755},
        },
    ]
    assert host["Binds"] == ["log:/log:ro"]
    assert host["Tmpfs"] == {"/tmp": "size=1m"}


def test_what_holds_a_container_in_is_passed_on() -> None:
    host = bodies.container(
        container(
            capabilities={"adds": ["CHOWN"], "drops": ["ALL"]},
            securityOpts=["no-new-privileges"],
            readOnly=True,
            init=False,
            ulimits=[{"name": "nofile", "soft": 1, "hard": 2}],
            hosts=[{"host": "db", "ip": "10.0.0.1"}],
            groupAdds=["7"],
            sysctls={"net.core.somaxconn": "9"},
            logDriver="json-file",
            logOpts={"max-size": "10m"},
        ),
        URN,
    )["HostConfig"]

    assert host["CapDrop"] == ["ALL"]
    assert host["CapAdd"] == ["CHOWN"]
    assert host["SecurityOpt"] == ["no-new-privileges"]
    assert host["ReadonlyRootfs"] is True
    assert host["Init"] is False
    assert host["Ulimits"] == [{"Name": "nofile", "Soft": 1, "Hard": 2}]
    assert host["ExtraHosts"] == ["db:10.0.0.1"]
    assert host["GroupAdd"] == ["7"]
    assert host["Sysctls"] == {"net.core.somaxconn": "9"}
    assert host["LogConfig"] == {"Type": "json-file", "Config": {"max-size": "10m"}}


def test_a_healthcheck_is_counted_in_nanoseconds() -> None:
    check = {"tests": ["CMD", "ask"], "interval": "1m30s", "timeout": "500ms", "retries": 3}

    assert bodies.container(container(healthcheck=check), URN)["Healthcheck"] == {
        "Test": ["CMD", "ask"],
        "Interval": 90_000_000_000,
        "Timeout": 500_000_000,
        "StartPeriod": 0,
        "Retries": 3,
    }


def test_uploads_keep_their_content_their_mode_and_their_owner() -> None:
    uploads = [
        Upload(file="/etc/web/a", content="é", permissions="0400", owner="77", group="78"),
        Upload(file="/b", content_base64="AAE=", executable=True),
        Upload(file="/c"),
    ]

    with tarfile.open(fileobj=io.BytesIO(bodies.archive(uploads))) as tar:
        a, b, c = tar.getmembers()
        contents = [tar.extractfile(entry).read() for entry in (a, b, c)]  # pyright: ignore[reportOptionalMemberAccess] - all are files
    assert contents == ["é".encode(), b"\0\1", b""]
    assert (a.name, a.mode, a.uid, a.gid) == ("etc/web/a", 0o400, 77, 78)
    assert (b.mode, c.mode) == (0o744, 0o644)


def test_another_memory_limit_takes_the_swap_along() -> None:
    limits = bodies.limits(container(memory=128, memorySwap=0))

    assert limits["mem_limit"] == 128 * bodies.BYTES_PER_MIB
    assert limits["memswap_limit"] == 256 * bodies.BYTES_PER_MIB


def test_nothing_drifts_while_all_is_as_given() -> None:
    assert bodies.drift(container(), inspected(), "sha256:1") == {}
    assert bodies.drift(container(), inspected(), "") == {}


def test_what_was_changed_behind_its_back_is_named_as_it_is_now() -> None:
    found = inspected(Memory=32 * bodies.BYTES_PER_MIB, NanoCpus=2 * bodies.NANOS_PER_CORE)
    found["Config"]["Env"] = ["PATH=/bin", "A=9"]
    found["State"]["Running"] = False

    assert bodies.drift(container(), found, "sha256:2") == {
        "memory": 32,
        "cpus": "2",
        "envs": ["A=9"],
        "image": "sha256:1",
        "mustRun": False,
    }


@pytest.mark.parametrize("ends", [{"mustRun": False}, {"start": False}, {"attach": True}])
def test_a_container_that_need_not_run_on_may_have_ended(ends: dict[str, object]) -> None:
    found = inspected()
    found["State"] = {"Running": False, "ExitCode": 3}

    assert "mustRun" not in bodies.drift(container(**ends), found, "sha256:1")
    assert bodies.outputs(found)["exitCode"] == 3


def test_equal_inputs_are_no_difference() -> None:
    old = {**GIVEN, "hostname": "made-up", "exitCode": 0, "networkDatas": []}

    assert difference(GIVEN, old).changes is False


@pytest.mark.parametrize(
    "change",
    [
        {"memory": 128},
        {"memorySwap": 128},
        {"cpuShares": 2},
        {"cpuSet": "0"},
        {"restart": "no"},
        {"destroyGraceSeconds": 3},
        {"wait": True},
        {"mustRun": True},
    ],
)
def test_limits_and_manners_change_in_place(change: dict[str, Any]) -> None:
    found = difference({**GIVEN, **change})

    assert found.diffs == list(change)
    assert found.replaces == []


@pytest.mark.parametrize(
    "change",
    [
        {"envs": ["A=2", "B=2"]},
        {"image": "web:2"},
        {"cpus": "1"},
        {"name": "other"},
        {"uploads": [{"file": "/a", "content": "b"}]},
        {"labels": [{"label": "a", "value": "b"}]},
    ],
)
def test_everything_else_makes_another_container_when_the_old_one_is_gone(
    change: dict[str, Any],
) -> None:
    found = difference({**GIVEN, **change})

    assert found.replaces == list(change)
    assert found.delete_before_replace


def test_a_limit_that_is_taken_away_makes_another_container() -> None:
    new = {key: value for key, value in GIVEN.items() if key != "memory"}

    assert difference(new).replaces == ["memory"]


def test_what_is_not_known_yet_is_a_difference() -> None:
    new = {**wrap_all(GIVEN), "image": COMPUTED}
    request = provider.DiffRequest(URN, "id", wrap_all(GIVEN), new, [])

    assert wire.difference(KINDS[CONTAINER], request).replaces == ["image"]


def test_a_trigger_pulls_an_image_again_in_place() -> None:
    old = {"name": "web:1", "imageId": "sha256:1"}
    found = difference({"name": "web:1", "pullTriggers": ["2"]}, old, IMAGE)

    assert found.changes
    assert found.replaces == []


def test_what_is_not_served_is_refused_by_name() -> None:
    assert "is not served" in faults(privileged=True)["privileged"]
    assert "`memorySwap`" in faults(privileged=True)["privileged"]
    with pytest.raises(InvalidError, match="`docker:index/secret:Secret` is not served"):
        wire.kind_of("docker:index/secret:Secret")


def test_a_wrong_value_is_refused_at_its_place() -> None:
    assert faults(memory="much") == {"memory": "Expected `int`, got `str`"}
    mounts = [{"type": "npipe", "target": "/x"}]
    assert faults(mounts=mounts) == {"mounts[0].type": "Invalid enum value 'npipe'"}
    assert "unknown field" in faults(uploads=[{"file": "/a", "source": "/b"}])["uploads[0]"]
    assert "uploads[0].owner" in faults(uploads=[{"file": "/a", "owner": "kafka"}])
    assert "interval" in " ".join(faults(healthcheck={"tests": ["CMD"], "interval": "soon"}))


def test_a_missing_input_is_named_and_an_unknown_one_waited_for() -> None:
    found = wire.faults(Container, {"name": wrap("web"), "memory": COMPUTED})

    assert [fault.property for fault in found] == ["image"]


def test_a_name_that_is_made_up_stays_the_same() -> None:
    first = named(provider.CheckRequest(URN, {}, {"image": wrap("web:1")}, b"\1\2\3\4"))
    again = named(provider.CheckRequest(URN, first, {"image": wrap("web:1")}, b"\5\6\7"))

    assert first["name"].value == "web-0102030"
    assert again["name"] == first["name"]


def test_settings_that_cross_as_text_are_opened() -> None:
    auth = [{"address": "registry.example", "username": "a", "password": "b"}]
    found = wire.settings(
        {
            "host": wrap("tcp://10.0.0.1:2376"),
            "registryAuth": PropertyValue(json.dumps(auth), is_secret=True),
            "version": wrap("5.2.0"),
        }
    )

    assert found.host == "tcp://10.0.0.1:2376"
    assert found.registry_auth[0].password == "b"


def test_a_setting_that_is_not_served_is_refused_by_name() -> None:
    found = wire.faults(Settings, wire.settings_inputs({"context": wrap("far")}))

    assert [fault.property for fault in found] == ["context"]


def test_no_secret_is_in_a_message() -> None:
    given = {
        "envs": PropertyValue([PropertyValue("TOKEN=abcdef", is_secret=True), wrap("STAGE=one")]),
        "uploads": PropertyValue([wrap({"content": "password"})], is_secret=True),
    }

    texts = wire.secrets_in(given)
    assert wire.hidden("TOKEN=abcdef abcdef password one", texts) == (
        "[secret] [secret] [secret] one"
    )


def test_a_server_behind_ssh_is_dialled_with_the_users_own_ssh() -> None:
    settings = Settings(host="ssh://root@srv1:2222", ssh_opts=("-o StrictHostKeyChecking=yes",))

    assert ssh_command(settings) == (
        *("ssh", "-o", "StrictHostKeyChecking=yes"),
        *(
            "-o",
            "BatchMode=yes",
            "-o",
            "ConnectTimeout=15",
            "-l",
            "root",
            "-p",
            "2222",
            "--",
            "srv1",
        ),
        *("docker", "system", "dial-stdio"),
    )


def test_the_libraries_that_talk_to_an_engine_are_not_imported_for_a_plan() -> None:
    script = (
        "import sys, infra.toolchain.plugins.docker.__main__\n"
        "print('docker' in sys.modules, 'requests' in sys.modules)"
    )
    told = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )

    assert told.stdout == "False False\n"
