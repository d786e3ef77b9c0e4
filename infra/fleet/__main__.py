"""`python -m infra.fleet`: three servers on this machine, and what may befall them."""

import argparse
import os
import subprocess
import sys
from collections.abc import Callable, Mapping

from helix.errors import HelixError
from infra.artifacts.commands import on_stderr
from infra.fleet import deploying, engines, faults, network
from infra.fleet.faults import Cut
from infra.fleet.plan import NAME, SUBNET, Fleet, Setting, fleets
from infra.toolchain.places import state_folder

INTERRUPTED = 130

Action = Callable[[Fleet, argparse.Namespace, Mapping[str, str]], int]


def main() -> int:
    """0 when it was done, 1 with one line saying what was not; `exec` ends as its command does."""
    arguments = _parser().parse_args()
    env = dict(os.environ)  # noqa: TID251 - a composition root
    try:
        home = fleets(state_folder(env)) / arguments.name
        own: dict[str, Setting] = (
            {"live-restore": False} if arguments.engines_stop_containers else {}
        )
        fleet = Fleet(home=home, name=arguments.name, subnet=arguments.subnet, engine=own)
        return ACTIONS[arguments.action](fleet, arguments, env)
    except HelixError as error:
        on_stderr(error.message)
        return 1
    except KeyboardInterrupt:
        on_stderr("stopped; run it again: it goes on from here")
        return INTERRUPTED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m infra.fleet", description=__doc__)
    parser.add_argument("--name", default=NAME, help="fleets of other names live beside it")
    parser.add_argument("--subnet", default=SUBNET, help="a network that nothing else here uses")
    parser.add_argument(
        "--engines-stop-containers",
        action="store_true",
        help="up: an engine that crashed stops its containers when it starts again",
    )
    actions = parser.add_subparsers(dest="action", required=True)
    actions.add_parser("deploy", help="bring the servers and the whole platform on them up")
    actions.add_parser("withdraw", help="take the platform, its data and the servers away")
    actions.add_parser("up", help="bring every server up, or repair them")
    actions.add_parser("down", help="take all of it away but the engines' data")
    actions.add_parser("status", help="what runs on which server")
    kill = actions.add_parser("kill", help="cut a server's power")
    kill.add_argument("server")
    kill.add_argument("--engine", action="store_true", help="the engine alone crashes")
    actions.add_parser("start", help="start a killed server again").add_argument("server")
    cut = actions.add_parser("cut", help="cut a server off the network")
    cut.add_argument("server")
    cut.add_argument("--off", type=Cut, choices=list(Cut), default=Cut.ALL)
    actions.add_parser("heal", help="end the cuts of a server").add_argument("server")
    run = actions.add_parser("exec", help="run a command on a server, its engine in DOCKER_HOST")
    run.add_argument("server")
    run.add_argument("command", nargs=argparse.REMAINDER)
    return parser


def _deploy(fleet: Fleet, _: argparse.Namespace, env: Mapping[str, str]) -> int:
    deploying.deploy(fleet, env, on_stderr)
    return 0


def _withdraw(fleet: Fleet, _: argparse.Namespace, env: Mapping[str, str]) -> int:
    deploying.withdraw(fleet, env, on_stderr)
    return 0


def _up(fleet: Fleet, _: argparse.Namespace, env: Mapping[str, str]) -> int:
    facts = deploying.servers(fleet, env, on_stderr)
    sys.stdout.write(f"image {facts.reference}\n")
    for bind in facts.binds:
        sys.stdout.write(f"bind {bind}\n")
    return 0


def _down(fleet: Fleet, _: argparse.Namespace, env: Mapping[str, str]) -> int:
    del env
    engines.down(fleet, on_stderr)
    return 0


def _status(fleet: Fleet, _: argparse.Namespace, env: Mapping[str, str]) -> int:
    """1 when an engine does not answer."""
    del env
    found = engines.status(fleet)
    for engine in found:
        state = "up" if engine.answers else "down"
        host = engine.host
        sys.stdout.write(f"{host.server}  {state:4}  {host.address}  {host.url}\n")
        for container in engine.containers:
            sys.stdout.write(f"  {container}\n")
    return 0 if all(engine.answers for engine in found) else 1


def _kill(fleet: Fleet, arguments: argparse.Namespace, env: Mapping[str, str]) -> int:
    del env
    fault = faults.crash if arguments.engine else faults.power_cut
    fault(fleet.host(arguments.server))
    return 0


def _start(fleet: Fleet, arguments: argparse.Namespace, env: Mapping[str, str]) -> int:
    del env
    faults.power_on(fleet.host(arguments.server))
    return 0


def _cut(fleet: Fleet, arguments: argparse.Namespace, env: Mapping[str, str]) -> int:
    del env
    faults.cut(fleet, fleet.host(arguments.server), off=arguments.off)
    return 0


def _heal(fleet: Fleet, arguments: argparse.Namespace, env: Mapping[str, str]) -> int:
    del env
    faults.heal(fleet.host(arguments.server))
    return 0


def _exec(fleet: Fleet, arguments: argparse.Namespace, env: Mapping[str, str]) -> int:
    host = fleet.host(arguments.server)
    words: list[str] = arguments.command
    command = words[1:] if words[:1] == ["--"] else words
    argv = network.within(host, command or ["sh"])
    return subprocess.call(argv, env={**env, "DOCKER_HOST": host.url})


ACTIONS: dict[str, Action] = {
    "deploy": _deploy,
    "withdraw": _withdraw,
    "up": _up,
    "down": _down,
    "status": _status,
    "kill": _kill,
    "start": _start,
    "cut": _cut,
    "heal": _heal,
    "exec": _exec,
}

if __name__ == "__main__":
    sys.exit(main())
