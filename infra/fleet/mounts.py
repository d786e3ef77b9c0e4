"""What is mounted below a folder, and its end."""

from pathlib import Path

from infra.fleet.calls import call

TABLE = Path("/proc/self/mounts")


def below(folder: Path, table: str) -> list[str]:
    """The mount points in the kernel's table below that folder, the last mounted first."""
    points = [_plain(line.split(" ")[1]) for line in table.splitlines()]
    return [point for point in reversed(points) if Path(point).is_relative_to(folder)]


def _plain(point: str) -> str:
    """The table writes blanks and the like as three octal digits."""
    return point.encode().decode("unicode_escape").encode("latin-1").decode()


def release(folder: Path) -> None:
    """Unmount everything below; what still uses it keeps it until it ends."""
    for point in below(folder, TABLE.read_text()):
        call(("umount", "-l", point))
