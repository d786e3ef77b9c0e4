"""Flink's home folder: two wheels and the jars that connect it to Kafka, Iceberg and S3."""

import os
import shutil
from pathlib import Path

from helix.errors import TopologyError

NAME = "flink"
JARS = "flink-jars"
# Where Flink expects a jar that is not simply a library.
PLACES = {
    "flink-sql-gateway": Path("opt"),
    "flink-s3-fs-hadoop": Path("plugins", "s3-fs-hadoop"),
    "jmx_prometheus_javaagent": Path("opt"),  # started from the command line, not a library
}
PARTS = ("lib", "opt", "plugins", "conf", "licenses")


def assemble(unpacked: Path, folder: Path, jars: Path) -> None:
    """Fill `folder` with a home that Flink's own scripts start from; uses `unpacked` up."""
    wheels = unpacked / "pyflink"
    if not (wheels / "bin").is_dir():
        raise TopologyError(f"`{wheels / 'bin'}` is missing; check the versions of Flink's wheels")
    # Copied, not moved: unpacked files may share their bytes and mode with uv's cache.
    shutil.copytree(wheels / "bin", folder / "bin")
    for script in (folder / "bin").iterdir():
        script.chmod(0o755)
    for part in PARTS:
        if (wheels / part).is_dir():
            (wheels / part).rename(folder / part)
    for jar in sorted((jars / "lib").glob("*.jar")):
        place = folder / _place(jar.name)
        place.mkdir(parents=True, exist_ok=True)
        os.link(jar, place / jar.name)
    shutil.rmtree(unpacked)


def _place(jar: str) -> Path:
    found = (place for prefix, place in PLACES.items() if jar.startswith(prefix))
    return next(found, Path("lib"))
