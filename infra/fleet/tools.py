"""The programs that only a fleet needs: installed when one is asked for, never before."""

from helix.errors import UnavailableError
from infra.artifacts import debian
from infra.artifacts.commands import Commands
from infra.artifacts.workshop import Workshop
from infra.toolchain.preflight import Tool

TOOLS = (
    Tool(name="dockerd", package="docker.io", purpose="runs the containers of a server"),
    Tool(name="iptables-restore", package="iptables", purpose="cuts a server off"),
    Tool(name="ip", package="iproute2", purpose="makes servers and their network"),
    Tool(name="nsenter", package="util-linux", purpose="runs a program on a server"),
    Tool(name="mmdebstrap", package="mmdebstrap", purpose="makes the image's file system"),
)


def lacking(commands: Commands) -> list[Tool]:
    """Those that are not on PATH."""
    return [tool for tool in TOOLS if commands.find(tool.name) is None]


def ensure(shop: Workshop) -> None:
    """Install what is missing as root; else one error that lists exactly what to install."""
    missing = lacking(shop.commands)
    for tool in missing:
        shop.report(f"{tool.name}: absent; it {tool.purpose}")
    if missing:
        debian.install([tool.package for tool in missing], shop)
    if still := lacking(shop.commands):
        raise UnavailableError(
            still[0].name,
            f"`{still[0].name}` is not on PATH although `{still[0].package}` is installed:"
            " add its folder to PATH, then run this again",
        )
