"""How the engines of `infra/engines` are started: one Python process each, told all by one file."""

from pathlib import Path

import msgspec

from helix.topology.model import Service
from infra.launch import Launch, Site, check
from infra.services import health

# All they import: a changed fact of the catalogue restarts none of them.
CODE = ("infra/engines", "infra/orphans.py", "helix/errors.py", "requirements.lock")


def files(site: Site, service: Service, own: dict[str, object]) -> dict[str, str]:
    """The engine's configuration: where it answers, where its data is, and what is its own."""
    listen, tls = site.listen(service.name, "http"), site.tls(service)
    place = {"host": listen.host, "port": listen.port, "data": str(site.data(service))}
    if tls:
        place |= {"certificate": tls.certificate, "key": tls.key}
    text = msgspec.json.format(msgspec.json.encode(place | own)).decode()
    return {str(_path(site, service)): text + "\n"}


def process(site: Site, service: Service, files: dict[str, str]) -> Launch:
    """One Python process holding the engine."""
    config, tls, probe = str(_path(site, service)), site.tls(service), service.probe
    listen = site.listen(service.name, "http")
    return Launch(
        name=service.name,
        argv=(site.python, "-m", f"infra.engines.{service.name}", config),
        check=check(site, service),
        cwd=str(site.root),
        files=files,
        folders=(str(site.data(service)),),
        health=health.program(site, listen, probe.path, probe.expect, authority=tls.authority)
        if tls
        else (),
        digest=site.digest(*CODE),
        stop_s_max=30,
    )


def _path(site: Site, service: Service) -> Path:
    return site.conf(service) / f"{service.name}.json"
