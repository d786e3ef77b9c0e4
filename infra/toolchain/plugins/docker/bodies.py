"""The resources in the words of Docker's own interface: pure, so a test can read them."""

import base64
import io
import re
import tarfile
from collections.abc import Mapping, Sequence
from typing import Any

from infra.toolchain.plugins.docker.inputs import Container, Healthcheck, Label, Mount, Upload

BYTES_PER_MIB = 1024 * 1024
NANOS_PER_CORE = 1_000_000_000
NANOS = {"ms": 1_000_000, "s": 1_000_000_000, "m": 60_000_000_000, "h": 3_600_000_000_000}
URN = "io.pulumi.urn"  # the label that tells whose a half-made container is
MODE = 0o644
MODE_EXECUTABLE = 0o744
SWAP_UNLIMITED = -1
Body = dict[str, Any]


def container(wanted: Container, urn: str) -> Body:
    """The body of a create; what is not given is the image's or the engine's own."""
    return _given(
        {
            "Image": wanted.image,
            "Entrypoint": list(wanted.entrypoints),
            "Cmd": list(wanted.command),
            "WorkingDir": wanted.working_dir,
            "Env": list(wanted.envs),
            "User": wanted.user,
            "Hostname": wanted.hostname,
            "Labels": {**labels(wanted.labels), URN: urn},
            "StopSignal": wanted.stop_signal,
            "StopTimeout": wanted.stop_timeout,
            "Healthcheck": _healthcheck(wanted.healthcheck) if wanted.healthcheck else None,
            "HostConfig": _host(wanted),
        }
    )


def labels(given: Sequence[Label]) -> dict[str, str]:
    return {each.label: each.value for each in given}


def _host(wanted: Container) -> Body:
    return _given(
        {
            **_isolation(wanted),
            **_resources(wanted),
            "NetworkMode": wanted.network_mode,
            "ExtraHosts": [f"{each.host}:{each.ip}" for each in wanted.hosts],
            "Mounts": [_mount(each) for each in wanted.mounts],
            "Binds": [
                f"{each.host_path or each.volume_name}:{each.container_path}"
                f":{'ro' if each.read_only else 'rw'}"
                for each in wanted.volumes
            ],
            "Tmpfs": wanted.tmpfs,
            "RestartPolicy": restart(wanted),
            "LogConfig": _given({"Type": wanted.log_driver, "Config": wanted.log_opts}),
            "Init": wanted.init,
            "AutoRemove": wanted.rm and not wanted.attach,  # else its log would go with it
        }
    )


def _isolation(wanted: Container) -> Body:
    return {
        "CapAdd": list(wanted.capabilities.adds),
        "CapDrop": list(wanted.capabilities.drops),
        "SecurityOpt": list(wanted.security_opts),
        "ReadonlyRootfs": wanted.read_only,
        "GroupAdd": list(wanted.group_adds),
        "Sysctls": wanted.sysctls,
    }


def _resources(wanted: Container) -> Body:
    return {
        "Memory": wanted.memory * BYTES_PER_MIB,
        "MemorySwap": _swap(wanted.memory_swap),
        "ShmSize": wanted.shm_size * BYTES_PER_MIB,
        "NanoCpus": round(float(wanted.cpus) * NANOS_PER_CORE),
        "CpuShares": wanted.cpu_shares,
        "CpusetCpus": wanted.cpu_set,
        "Ulimits": [
            {"Name": each.name, "Soft": each.soft, "Hard": each.hard} for each in wanted.ulimits
        ],
    }


def _swap(mib: int) -> int:
    return mib if mib == SWAP_UNLIMITED else mib * BYTES_PER_MIB


def restart(wanted: Container) -> Body:
    return {"Name": wanted.restart, "MaximumRetryCount": wanted.max_retry_count}


def limits(wanted: Container) -> Body:
    """The arguments of an update in place."""
    # Engines give a container twice its memory as swap; another limit needs both numbers at once.
    swap = _swap(wanted.memory_swap) or 2 * wanted.memory * BYTES_PER_MIB
    given = _given(
        {
            "mem_limit": wanted.memory * BYTES_PER_MIB,
            "memswap_limit": swap,
            "cpu_shares": wanted.cpu_shares,
            "cpuset_cpus": wanted.cpu_set,
        }
    )
    # A container that goes away by itself may have no restart policy at all.
    return given if wanted.rm else {**given, "restart_policy": restart(wanted)}


def _mount(mount: Mount) -> Body:
    options = mount.tmpfs_options
    return _given(
        {
            "Type": mount.type,
            "Target": mount.target,
            "Source": mount.source,
            "ReadOnly": mount.read_only,
            "TmpfsOptions": _given({"SizeBytes": options.size_bytes, "Mode": options.mode})
            if options
            else None,
        }
    )


def _healthcheck(given: Healthcheck) -> Body:
    return {
        "Test": list(given.tests),
        "Interval": nanoseconds(given.interval),
        "Timeout": nanoseconds(given.timeout),
        "StartPeriod": nanoseconds(given.start_period),
        "Retries": given.retries,
    }


def nanoseconds(duration: str) -> int:
    """`1m30s` as a number."""
    parts = re.findall(r"([0-9.]+)(ms|s|m|h)", duration)
    return round(sum(float(number) * NANOS[unit] for number, unit in parts))


def archive(uploads: Sequence[Upload]) -> bytes:
    """The files as the tar that is unpacked at the container's root."""
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w") as tar:
        for upload in uploads:
            content = _content(upload)
            entry = tarfile.TarInfo(upload.file.lstrip("/"))
            entry.size = len(content)
            entry.mode = _mode(upload)
            entry.uid, entry.gid = int(upload.owner), int(upload.group)
            tar.addfile(entry, io.BytesIO(content))
    return target.getvalue()


def _content(upload: Upload) -> bytes:
    if upload.content_base64:
        return base64.b64decode(upload.content_base64)
    return upload.content.encode()


def _mode(upload: Upload) -> int:
    if upload.permissions:
        return int(upload.permissions, 8)
    return MODE_EXECUTABLE if upload.executable else MODE


def _given(values: Mapping[str, Any]) -> Body:
    return {key: value for key, value in values.items() if value or value is False}


def outputs(found: Mapping[str, Any]) -> dict[str, object]:
    """What the engine tells of a container beside what was asked for."""
    network = found["NetworkSettings"]
    return {
        "bridge": network["Bridge"],
        "hostname": found["Config"]["Hostname"],
        "networkDatas": [
            {
                "networkName": name,
                "ipAddress": each["IPAddress"],
                "ipPrefixLength": each["IPPrefixLen"],
                "gateway": each["Gateway"],
                "macAddress": each["MacAddress"],
            }
            for name, each in network["Networks"].items()
        ],
        "exitCode": found["State"]["ExitCode"],
    }


def drift(wanted: Container, found: Mapping[str, Any], image_id: str) -> dict[str, object]:
    """The inputs as they are now, of those that are not as they were given.

    `image_id` is what the engine now means by the image's name; empty when it means nothing.
    """
    host = found["HostConfig"]
    now: dict[str, tuple[object, object]] = {
        "memory": (wanted.memory, host["Memory"] // BYTES_PER_MIB),
        "cpuShares": (wanted.cpu_shares, host["CpuShares"]),
        "cpuSet": (wanted.cpu_set, host["CpusetCpus"]),
        "cpus": (float(wanted.cpus), host["NanoCpus"] / NANOS_PER_CORE),
        "restart": (wanted.restart, host["RestartPolicy"]["Name"] or "no"),
        "image": (image_id or found["Image"], found["Image"]),
        "envs": (list(wanted.envs), _envs(wanted.envs, found["Config"]["Env"] or [])),
        "mustRun": (lasting(wanted), lasting(wanted) and found["State"]["Running"]),
    }
    if wanted.memory_swap:
        now["memorySwap"] = (wanted.memory_swap, _mib(host["MemorySwap"]))
    differing = {key: after for key, (before, after) in now.items() if before != after}
    if "cpus" in differing:
        differing["cpus"] = f"{differing['cpus']:g}"
    return differing


def _mib(swap: int) -> int:
    return swap if swap == SWAP_UNLIMITED else swap // BYTES_PER_MIB


def _envs(given: Sequence[str], found: Sequence[str]) -> list[str]:
    """The variables given as they are now; those of the image do not count."""
    now = {each.partition("=")[0]: each for each in found}
    names = [each.partition("=")[0] for each in given]
    return [now[name] for name in names if name in now]


def lasting(wanted: Container) -> bool:
    """Whether it is meant to run on, rather than to its end."""
    return wanted.must_run and wanted.start and not wanted.attach
