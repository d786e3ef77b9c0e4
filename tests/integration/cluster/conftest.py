"""One control plane for every test of this folder; each test makes its own namespaces in it."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.artifacts.commands import on_stderr
from infra.artifacts.fetch import cache_folder
from infra.kube import cluster
from infra.kube.launches import Plan

OFFSET = 200
VOLUMES = 80  # kept when their claims are gone: as many as all tests claim together


@pytest.fixture(scope="session")
def kubeconfig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A cluster with a node for each server of the plan; its programs are built once and kept."""
    tools = cluster.tools(cache_folder(os.environ), on_stderr)  # noqa: TID251 - where builds are kept
    home = tmp_path_factory.mktemp("kube")
    plan = Plan(home=str(home / "cluster"), tools=tools, offset=OFFSET)
    try:
        path = home / "config"
        path.write_text(cluster.start(plan, volumes=VOLUMES))
        yield path
    finally:
        cluster.stop(plan)
