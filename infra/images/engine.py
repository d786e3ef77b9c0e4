"""What we ask of a container engine: to build, and what a tag stands for."""

import io
from collections.abc import Callable, Mapping
from contextlib import closing
from typing import Any

import docker
import requests
from docker.errors import BuildError, DockerException

from helix.errors import UnavailableError

BUILD_S_MAX = 1800  # the programs' packages come over the network


class Engine:
    """One engine, by its address or as the environment says."""

    def __init__(self, address: str, env: Mapping[str, str]) -> None:
        self._address = address
        self._env = env

    def build(
        self,
        reference: str,
        context: bytes,
        arguments: Mapping[str, str],
        report: Callable[[str], None],
    ) -> str:
        """The id of the image built from the context."""
        image, lines = self._ask(
            lambda client: client.images.build(
                fileobj=io.BytesIO(context),
                custom_context=True,
                tag=reference,
                buildargs=dict(arguments),
                rm=True,
                forcerm=True,
            )
        )
        for line in lines:
            if text := str(line.get("stream", "")).strip():
                report(text)
        return str(image.id)

    def digest(self, reference: str) -> str:
        """What the registry has under that tag today."""
        return str(self._ask(lambda client: client.images.get_registry_data(reference).id))

    def _ask(self, question: Callable[[docker.DockerClient], Any]) -> Any:  # the SDK is untyped
        try:
            with closing(self._client()) as client:
                return question(client)
        except BuildError as error:
            raise UnavailableError(
                "docker",
                f"the build failed: {error.msg}; a base of your own is named by `--base`",
            ) from error
        except (DockerException, requests.RequestException) as error:
            raise UnavailableError(
                "docker", f"the engine did not do it: {error}; see `--engine` and `--base`"
            ) from error

    def _client(self) -> docker.DockerClient:
        if self._address:
            return docker.DockerClient(base_url=self._address, timeout=BUILD_S_MAX)
        return docker.from_env(environment=dict(self._env), timeout=BUILD_S_MAX)
