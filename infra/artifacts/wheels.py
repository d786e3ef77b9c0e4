"""Python packages unpacked beside each other, every file verified by the lock's hashes."""

import sys
from pathlib import Path

from uv import find_uv_bin

from helix.topology.model import Wheels
from infra.artifacts.workshop import Workshop


def make(artifact: Wheels, folder: Path, shop: Workshop) -> None:
    """Unpack the artifact's packages into `folder`, without what they depend on."""
    shop.report(f"unpacking {', '.join(artifact.packages)}")
    options = ("--no-deps", "--require-hashes", "--python", sys.executable, "--target", folder)
    command = (find_uv_bin(), "pip", "install", *options, "-r", shop.lock(artifact.name))
    shop.commands.run(command, log=shop.log(artifact.name))


def lock(artifact: Wheels, folder: Path, shop: Workshop) -> str:
    """The requirements file with the hashes of the artifact's packages, for every platform."""
    wanted, result = folder / "requirements.in", folder / "requirements.txt"
    wanted.write_text("".join(f"{package}\n" for package in artifact.packages))
    options = ("--no-deps", "--generate-hashes", "--universal", "--no-header", "--no-annotate")
    command = (find_uv_bin(), "pip", "compile", *options, "--no-emit-index-url", wanted)
    shop.commands.run((*command, "-o", result), log=shop.log(artifact.name))
    return result.read_text()
