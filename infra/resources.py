"""The plugin's resources as a Pulumi program writes them down."""

from collections.abc import Mapping, Sequence

import msgspec
import pulumi

from infra.launch import Launch

Text = pulumi.Input[str]


class Supervisor(pulumi.CustomResource):
    """The one parent of a stack's processes; `home` is the stack's folder outside the clone."""

    home: pulumi.Output[str]
    running: pulumi.Output[bool]

    def __init__(
        self, name: str, *, home: Text, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        props = {"home": home, "running": None}
        super().__init__("helix:local:Supervisor", name, props, opts)


class Artifact(pulumi.CustomResource):
    """An artifact of the catalogue, made in the user's cache; `path` is its folder there."""

    path: pulumi.Output[str]

    def __init__(
        self,
        name: str,
        *,
        artifact: Text,
        digest: Text,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        props = {"name": artifact, "digest": digest, "path": None}
        super().__init__("helix:local:Artifact", name, props, opts)


class Process(pulumi.CustomResource):
    """A server that runs as its launch says and answered its probe.

    `secrets` are the fingerprints of the secrets it refers to: another one restarts it.
    """

    running: pulumi.Output[bool]

    def __init__(
        self,
        name: str,
        *,
        home: Text,
        launch: Launch,
        secrets: Mapping[str, Text] | None = None,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        props = {
            "home": home,
            "launch": msgspec.to_builtins(launch),
            "secrets": dict(secrets or {}),
            "running": None,
            "logFile": None,
        }
        super().__init__("helix:local:Process", name, props, opts)

    @property
    @pulumi.getter(name="logFile")
    def log_file(self) -> pulumi.Output[str]:
        return pulumi.get(self, "log_file")


class Task(pulumi.CustomResource):
    """A command run to its end when it is new, and again when it or a trigger differs."""

    done: pulumi.Output[bool]

    def __init__(  # noqa: PLR0913 - the fields of one command
        self,
        name: str,
        *,
        home: Text,
        argv: Sequence[Text],
        cwd: Text,
        env: Mapping[str, Text] | None = None,
        triggers: Mapping[str, Text] | None = None,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        props = {
            "home": home,
            "name": name,
            "argv": list(argv),
            "cwd": cwd,
            "env": dict(env or {}),
            "triggers": dict(triggers or {}),
            "done": None,
        }
        super().__init__("helix:local:Task", name, props, opts)


class Secret(pulumi.CustomResource):
    """A password derived from the stack's master secret; one more `version` makes another.

    `reference` stands for it in launches and tasks, `fingerprint` changes when it does.
    """

    reference: pulumi.Output[str]
    fingerprint: pulumi.Output[str]

    def __init__(
        self,
        name: str,
        *,
        home: Text,
        secret: Text,
        version: int = 1,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        props = {
            "home": home,
            "name": secret,
            "version": version,
            "reference": None,
            "fingerprint": None,
        }
        super().__init__("helix:local:Secret", name, props, opts)
