"""The local substrate: real servers as plain processes of this machine under one supervisor."""

import hashlib
from collections.abc import Mapping, Sequence

import msgspec
import pulumi

from helix.topology.model import Artifact, Record, Service
from infra import resources
from infra.composition import local_site
from infra.launch import Address, Launch
from infra.provider.secrets import current_version, references
from infra.services import bootstrap
from infra.services.registry import face
from infra.substrates.site import LocalSite
from infra.substrates.wanted import Wanted


def artifact_digest(artifact: Artifact, path: str) -> str:
    """Changes with the record and, for what is made from locked sources, with the lock."""
    return hashlib.sha256(msgspec.json.encode(artifact) + path.encode()).hexdigest()[:16]


def compose(settings: Wanted, env: Mapping[str, str], stack: str) -> "Local":
    """The machine `pulumi up` runs on."""
    return Local(local_site(settings, env, stack))


class Local:
    """Renders launches, and places them as resources of the plugin `helix`."""

    def __init__(self, site: LocalSite) -> None:
        self.site = site
        self._home = str(site.home)
        self._supervisor = resources.Supervisor("supervisor", home=self._home)
        self._artifacts: dict[str, resources.Artifact] = {}
        self._secrets: dict[str, resources.Secret] = {}

    def faults(self, services: Sequence[Service]) -> list[str]:
        """None: loopback, own accounts, and what does not fit is met by the preflight."""
        del services
        return []

    def render(self, service: Service) -> tuple[Launch]:
        """The launch of the service on this machine."""
        return (face(service).process(self.site),)

    def address(self, service: str, port: str) -> Address:
        """Loopback, with the stack's offset."""
        return self.site.address(service, port)

    def place(self, service: Service, after: Sequence[pulumi.Resource]) -> tuple[resources.Process]:
        """A process, once its program is fetched and what it needs answers."""
        (launch,) = self.render(service)
        programs = [self._artifact(service.artifact)] if service.artifact else []
        process = resources.Process(
            service.name,
            home=self._home,
            launch=launch,
            secrets=self._fingerprints(launch),
            opts=pulumi.ResourceOptions(depends_on=[self._supervisor, *programs, *after]),
        )
        return (process,)

    def bootstrap(self, after: Sequence[pulumi.Resource]) -> pulumi.Resource:
        """A task, run again when a trigger of it changes."""
        job = bootstrap.job(self.site)
        return resources.Task(
            job.name,
            home=self._home,
            argv=job.argv,
            cwd=job.cwd,
            env=job.env,
            triggers=job.triggers | self._fingerprints(job),
            opts=pulumi.ResourceOptions(depends_on=[self._supervisor, *after]),
        )

    def _artifact(self, name: str) -> resources.Artifact:
        if name not in self._artifacts:
            digest = artifact_digest(
                self.site.topology.artifact(name), str(self.site.artifact(name))
            )
            self._artifacts[name] = resources.Artifact(name, artifact=name, digest=digest)
        return self._artifacts[name]

    def _fingerprints(self, rendered: Record) -> dict[str, pulumi.Output[str]]:
        """Of each secret it reads: another one changes what reads it."""
        names = references(msgspec.json.encode(rendered).decode())
        return {name: self._secret(name).fingerprint for name in names}

    def _secret(self, name: str) -> resources.Secret:
        if name not in self._secrets:
            self._secrets[name] = resources.Secret(
                name,
                home=self._home,
                secret=name,
                version=current_version(self.site.home, name),
            )
        return self._secrets[name]
