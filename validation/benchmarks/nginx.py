"""The limit of any server here: nginx, one process on core 0, that reads nothing and says 202."""

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from validation.benchmarks.errors import AbsentError, VoidError
from validation.benchmarks.load import SERVER_CORE, STOP_S_MAX, Server

CONNECTIONS_MAX = 1024
START_S_MAX = 5.0
POLL_S = 0.01
# Debian keeps it where only root looks.
PLACES = os.pathsep.join((os.defpath, "/usr/sbin", "/usr/local/sbin"))


def configuration(folder: Path, port: int) -> str:
    """Everything nginx needs, nothing written outside the folder."""
    return f"""
daemon off;
master_process off;
pid {folder}/pid;
error_log {folder}/error.log;
events {{ worker_connections {CONNECTIONS_MAX}; }}
http {{
  access_log off;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  keepalive_requests 1000000;
  server {{
    listen 127.0.0.1:{port};
    location / {{ return 202 "{{}}"; }}
  }}
}}
"""


@contextmanager
def served() -> Generator[Server]:
    """Nginx on a free port; `AbsentError` where the machine has none."""
    program = shutil.which("nginx", path=PLACES)
    if program is None:
        raise AbsentError("`nginx` is not on this machine: install it with the system's packages")
    with tempfile.TemporaryDirectory() as name:
        with socket.create_server(("127.0.0.1", 0)) as free:
            address = free.getsockname()
        file = Path(name) / "nginx.conf"
        file.write_text(configuration(Path(name), address[1]), encoding="utf-8")
        # Had somebody taken the port meanwhile, it would end, and the round be void.
        process = subprocess.Popen(
            [program, "-p", name, "-c", str(file)], stderr=subprocess.DEVNULL
        )
        os.sched_setaffinity(process.pid, {SERVER_CORE})
        try:
            _answering(address)
            yield Server(process, address)
        finally:
            process.terminate()
            process.wait(STOP_S_MAX)


def _answering(address: tuple[str, int]) -> None:
    """Return once it takes connections; void when it does not in time."""
    until = time.monotonic() + START_S_MAX
    while True:
        try:
            socket.create_connection(address).close()
        except ConnectionRefusedError as error:
            if time.monotonic() > until:
                raise VoidError("nginx did not start in time") from error
            time.sleep(POLL_S)
        else:
            return
