"""The engine of one server: reached by socket, TCP with TLS or SSH; its errors in our words."""

import os
import shlex
import socket
import subprocess
import urllib.parse
from collections.abc import Generator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import docker
import requests
from docker.constants import DEFAULT_DOCKER_API_VERSION
from docker.errors import APIError, DockerException, NotFound
from docker.tls import TLSConfig
from docker.transport import UnixHTTPAdapter
from urllib3 import HTTPConnectionPool
from urllib3.connection import HTTPConnection

from helix.errors import ConflictError, HelixError, InvalidError, UnavailableError
from infra.toolchain.plugins.docker.inputs import Settings

CALL_S_MAX = 60
CONNECT_S_MAX = 15
SSH_END_S_MAX = 5.0
CONNECTIONS_MAX = 64  # as many as the plugin has threads
SSH = "ssh://"
ANY_SOCKET = "unix:///var/run/docker.sock"  # of an SSH connection: never opened on this machine
HTTP_CONFLICT = 409
HTTP_SERVER_ERROR = 500


class Server:
    """One engine; every error names it."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.host = settings.host
        with self.plainly("the engine"):
            # Asked once and without the environment's proxies and certificates, as all that follows
            asked = _client(settings, DEFAULT_DOCKER_API_VERSION, s_max=CONNECT_S_MAX)
            version = str(asked.version(api_version=False)["ApiVersion"])
            asked.close()
            self.api = _client(settings, version, s_max=CALL_S_MAX)

    @contextmanager
    def plainly(self, thing: str) -> Generator[None]:
        """What the libraries raise, as one of our errors that names the thing and the server."""
        try:
            yield
        except NotFound as error:
            raise InvalidError(
                f"{thing} on `{self.host}`: {error.explanation}; run `pulumi refresh`, or declare "
                "what is missing"
            ) from error
        except APIError as error:
            raise self._refusal(thing, error) from error
        except (DockerException, requests.RequestException, OSError) as error:
            raise UnavailableError(
                "docker",
                f"no Docker engine answers at `{self.host}` ({error}); start it, or correct the "
                "`host` and the certificates of its provider",
            ) from error

    def _refusal(self, thing: str, error: APIError) -> HelixError:
        said = f"{thing} on `{self.host}`: {error.explanation or error}"
        status = error.status_code or HTTP_SERVER_ERROR
        if status == HTTP_CONFLICT:
            return ConflictError(f"{said}; remove what stands in the way and run `pulumi up` again")
        if status >= HTTP_SERVER_ERROR:
            return UnavailableError("docker", f"{said}; mend that and run `pulumi up` again")
        return InvalidError(f"{said}; correct that property and run `pulumi up` again")


def _client(settings: Settings, version: str, *, s_max: int) -> docker.APIClient:
    remote = settings.host.startswith(SSH)
    client = docker.APIClient(
        base_url=ANY_SOCKET if remote else settings.host,
        version=version,
        timeout=s_max,
        tls=_tls(settings) or False,
        max_pool_size=CONNECTIONS_MAX,
    )
    client.trust_env = False
    if remote:
        client.mount("http+docker://", SshAdapter(ssh_command(settings)))
    return client


def _tls(settings: Settings) -> TLSConfig | None:
    if settings.cert_path:
        folder = Path(settings.cert_path)
        ca, cert, key = (str(folder / name) for name in ("ca.pem", "cert.pem", "key.pem"))
        return TLSConfig(client_cert=(cert, key), ca_cert=ca, verify=True)
    if not settings.ca_material:
        return None
    pair = (_in_memory(settings.cert_material), _in_memory(settings.key_material))
    return TLSConfig(
        client_cert=pair if settings.cert_material else None,
        ca_cert=_in_memory(settings.ca_material),
        verify=True,
    )


def _in_memory(text: str) -> str:
    """A path to the text for libraries that only take files: no key reaches a disk."""
    handle = os.memfd_create("material")
    with os.fdopen(os.dup(handle), "w", encoding="ascii") as file:
        file.write(text)
    return f"/proc/self/fd/{handle}"


def ssh_command(settings: Settings) -> tuple[str, ...]:
    """The program whose input and output are the engine's socket."""
    url = urllib.parse.urlsplit(settings.host)
    port = ("-p", str(url.port)) if url.port else ()
    user = ("-l", url.username) if url.username else ()
    dial = ("docker", *(("--host", f"unix://{url.path}") if url.path.strip("/") else ()))
    options = tuple(word for option in settings.ssh_opts for word in shlex.split(option))
    remote = (*dial, "system", "dial-stdio")
    # Of an option given twice the first counts. Nobody could answer a question here.
    options += ("-o", "BatchMode=yes", "-o", f"ConnectTimeout={CONNECT_S_MAX}")
    return ("ssh", *options, *user, *port, "--", str(url.hostname), *remote)


class SshConnection(HTTPConnection):
    """An HTTP connection through a program of its own."""

    def __init__(self, *args: Any, command: tuple[str, ...], **more: Any) -> None:
        super().__init__(*args, **more)
        self._command = command
        self._program: subprocess.Popen[bytes] | None = None

    def connect(self) -> None:
        self.sock, far = socket.socketpair()
        self.sock.settimeout(CALL_S_MAX)
        with far:
            self._program = subprocess.Popen(self._command, stdin=far.fileno(), stdout=far.fileno())

    def close(self) -> None:
        super().close()
        if self._program:
            self._program.terminate()
            self._program.wait(SSH_END_S_MAX)
            self._program = None


class SshAdapter(UnixHTTPAdapter):
    """Docker's own adapter asks for another SSH library; the `ssh` command knows the user's set-up.

    One pool is enough: all requests of a client go to one engine.
    """

    def __init__(self, command: tuple[str, ...]) -> None:
        super().__init__(ANY_SOCKET)
        self._pool = HTTPConnectionPool("localhost", maxsize=CONNECTIONS_MAX)
        self._pool.ConnectionCls = partial(SshConnection, command=command)  # pyright: ignore[reportAttributeAccessIssue] - any callable that makes a connection

    def get_connection(self, url: object, proxies: object = None) -> Any:
        del url, proxies
        return self._pool

    def close(self) -> None:
        self._pool.close()
        super().close()
