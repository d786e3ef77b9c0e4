"""Docker servers: one engine each, containers on the host's network, addresses of the catalogue."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pulumi
import pulumi_docker as docker

from helix.errors import TopologyError
from helix.topology.model import Service, Volume
from infra.composition import hosted_stack
from infra.launch import Address
from infra.policies import over_booked, violations
from infra.provider.secrets import OPENING, resolve
from infra.services import bootstrap
from infra.substrates.containers import Container, containers, job
from infra.substrates.hosted import Hosted
from infra.substrates.volumes import LABEL
from infra.substrates.wanted import Sizes, Wanted

Lookup = Callable[[str], str]

CODE = "helix.code"  # a digest of what it runs: edited code replaces exactly its container
TRIGGERS = "helix.triggers"  # on the bootstrap: another one runs it again
PRIVATE = "0400"
LOG_MB_MAX = "10"
LOGS_KEPT = "3"
HEALTH_EVERY_S = 5
HEALTH_ANSWER_S_MAX = 5
HEALTH_RETRIES = 3
WAIT_SLACK_S = 240  # a small machine starts everything at once
SHARES_PER_CORE = 1024
# The thorough compiler takes as much processor time again as it takes to start a server.
QUICK_JAVA = {"JDK_JAVA_OPTIONS": "-XX:TieredStopAtLevel=1"}


def compose(settings: Wanted, env: Mapping[str, str], stack: str) -> "Docker":
    """The servers that the configuration names."""
    here, lookup, formed = hosted_stack(settings, env, stack)
    return Docker(here, settings, lookup, formed=formed)


class Docker:
    """Renders containers, and places each on the engine of its server."""

    def __init__(self, site: Hosted, settings: Wanted, lookup: Lookup, *, formed: Path) -> None:
        self.site = site
        self._settings = settings
        self._lookup = lookup
        self._formed = formed
        self._engines: dict[str, docker.Provider] = {}
        self._images: dict[tuple[str, str], docker.RemoteImage] = {}

    def faults(self, services: Sequence[Service]) -> list[str]:
        """Policies that a container breaks, servers that are too small."""
        rendered = [one for service in services for one in self.render(service)]
        servers = {
            server.name: self._settings.sized(server) for server in self.site.topology.servers
        }
        weighed = self._settings.sizes is Sizes.LAPTOP
        return [*violations(rendered), *over_booked(self.site.instances, servers, weighed=weighed)]

    def render(self, service: Service) -> tuple[Container, ...]:
        """The containers of the service."""
        return containers(self.site, service)

    def address(self, service: str, port: str) -> Address:
        """On the server's address."""
        return self.site.address(service, port)

    def place(self, service: Service, after: Sequence[pulumi.Resource]) -> list[pulumi.Resource]:
        """Its containers: side by side the first time, later one after another.

        The members of a new quorum need each other to become healthy; those of a running one must
        be replaced while the others carry the service.
        """
        placed: list[pulumi.Resource] = []
        rolling = self._formed.exists()
        for one in self.render(service):
            placed.append(self._place(one, [*after, *placed] if rolling else after))
        return placed

    def bootstrap(self, after: Sequence[pulumi.Resource]) -> pulumi.Resource:
        """A container that ends; `formed` says from then on that the stack has run."""
        task = job(self.site)
        made = self._container(task, after, must_run=False, attach=True, logs=True)
        pulumi.Output.all(made.exit_code, made.container_logs).apply(self._ended)
        return made

    def _ended(self, result: Sequence[object]) -> None:
        code, logs = result
        if code:
            tail = "\n".join(str(logs).splitlines()[-20:])
            raise TopologyError(f"`{bootstrap.NAME}` ended with {code}:\n{tail}")
        self._formed.touch()

    def _place(self, one: Container, after: Sequence[pulumi.Resource]) -> docker.Container:
        volumes = [self._volume(one, volume) for volume in one.volumes]
        return self._container(
            one,
            [*after, *volumes],
            healthcheck=_health(one),
            restart="unless-stopped",
            wait=True,
            wait_timeout=one.start_s_max + WAIT_SLACK_S,
        )

    def _container(
        self, one: Container, after: Sequence[pulumi.Resource], **own: Any
    ) -> docker.Container:
        labels = {LABEL: self.site.stack, CODE: one.launch.digest, TRIGGERS: one.triggers}
        return docker.Container(
            one.name,
            name=self._name(one),
            image=self._image(one).image_id,
            entrypoints=list(one.launch.argv[:1]),
            command=list(one.launch.argv[1:]),
            envs=environment(one, self._settings.sizes),
            user=f"{one.uid}:{one.uid}",
            network_mode="host",
            hostname=one.instance.server,
            hosts=self._names(),
            mounts=self._mounts(one),
            uploads=self._uploads(one),
            labels=[
                docker.ContainerLabelArgs(label=label, value=value)
                for label, value in labels.items()
                if value
            ],
            ulimits=_ulimits(one),
            stop_signal=f"SIG{one.launch.stop_signal}",
            stop_timeout=one.launch.stop_s_max,
            destroy_grace_seconds=one.launch.stop_s_max,
            capabilities=docker.ContainerCapabilitiesArgs(drops=["ALL"]),
            security_opts=["no-new-privileges"],
            log_driver="json-file",
            log_opts={"max-size": f"{LOG_MB_MAX}m", "max-file": LOGS_KEPT},
            memory=one.instance.size.memory_mib,
            memory_swap=one.instance.size.memory_mib,  # no swap beyond it
            **_cores(one, self._settings.sizes),
            **own,
            opts=pulumi.ResourceOptions(
                provider=self._engine(one.instance.server),
                depends_on=list(after),
                delete_before_replace=True,  # name and ports are fixed
            ),
        )

    def _name(self, one: Container) -> str:
        return f"{self.site.stack}-{one.name}"

    def _volume(self, one: Container, volume: Volume) -> docker.Volume:
        """Kept by `destroy` and by every replacement of its container."""
        name = f"{one.name}-{volume.name}"
        return docker.Volume(
            name,
            name=f"{self.site.stack}-{name}",
            labels=[docker.VolumeLabelArgs(label=LABEL, value=self.site.stack)],
            opts=pulumi.ResourceOptions(
                provider=self._engine(one.instance.server), retain_on_delete=volume.kept
            ),
        )

    def _names(self) -> list[docker.ContainerHostArgs]:
        """Every server by name: Java asks for its own and its peers', and may have no resolver."""
        used = dict.fromkeys(one.server for one in self.site.instances)
        return [
            docker.ContainerHostArgs(host=server, ip=self._settings.host(server).address)
            for server in used
        ]

    def _mounts(self, one: Container) -> list[docker.ContainerMountArgs]:
        binds = [bind.split(":", 1) for bind in self._settings.binds]
        return [
            *(
                docker.ContainerMountArgs(
                    type="volume",
                    source=f"{self._name(one)}-{volume.name}",
                    target=volume.mount,
                )
                for volume in one.volumes
            ),
            *(
                docker.ContainerMountArgs(type="bind", source=source, target=target, read_only=True)
                for source, target in binds
            ),
        ]

    def _uploads(self, one: Container) -> list[docker.ContainerUploadArgs]:
        """Files owned by the container's user and readable by nobody else."""

        def upload(path: str, **content: pulumi.Input[str]) -> docker.ContainerUploadArgs:
            owner = str(one.uid)
            return docker.ContainerUploadArgs(
                file=path,
                owner=owner,
                group=owner,
                permissions=PRIVATE,
                content=content.get("text"),
                content_base64=content.get("base64"),
            )

        texts, binaries = one.launch.files, one.launch.binaries
        return [
            *(upload(path, text=self._resolved(texts[path])) for path in sorted(texts)),
            *(upload(path, base64=self._resolved(binaries[path])) for path in sorted(binaries)),
        ]

    def _resolved(self, text: str) -> pulumi.Input[str]:
        """The text with its secrets in place: encrypted in Pulumi's state, never shown."""
        return pulumi.Output.secret(resolve(text, self._lookup)) if OPENING in text else text

    def _image(self, one: Container) -> docker.RemoteImage:
        """The image on that server, by its content: another one under the same tag is a change."""
        server, reference = one.instance.server, one.reference
        if (server, reference) not in self._images:
            name = f"{server}-{hashlib.sha256(reference.encode()).hexdigest()[:8]}"
            self._images[server, reference] = docker.RemoteImage(
                name,
                name=reference,
                keep_locally=True,
                opts=pulumi.ResourceOptions(provider=self._engine(server)),
            )
        return self._images[server, reference]

    def _engine(self, server: str) -> docker.Provider:
        if server not in self._engines:
            where = self._settings.host(server)
            self._engines[server] = docker.Provider(
                server, host=where.engine, cert_path=where.certificates or None
            )
        return self._engines[server]


def environment(one: Container, sizes: Sizes) -> list[str]:
    """Return a container's `NAME=value` pairs; laptop sizes add the JVM's quick compiler."""
    hurried = QUICK_JAVA if sizes is Sizes.LAPTOP else {}
    return [f"{name}={value}" for name, value in (hurried | one.launch.env).items()]


def _health(one: Container) -> docker.ContainerHealthcheckArgs:
    return docker.ContainerHealthcheckArgs(
        tests=["CMD", *one.launch.health],
        interval=f"{HEALTH_EVERY_S}s",
        timeout=f"{HEALTH_ANSWER_S_MAX}s",
        retries=HEALTH_RETRIES,
        start_period=f"{one.start_s_max}s",
    )


def _ulimits(one: Container) -> list[docker.ContainerUlimitArgs]:
    files = one.launch.nofile
    return [docker.ContainerUlimitArgs(name="nofile", soft=files, hard=files)] if files else []


def _cores(one: Container, sizes: Sizes) -> dict[str, Any]:
    """A hard limit in production; a laptop's few cores are shared by weight."""
    cores = one.instance.size.cores
    if sizes is Sizes.LAPTOP:
        return {"cpu_shares": max(2, round(cores * SHARES_PER_CORE))}
    return {"cpus": f"{cores:g}"}
