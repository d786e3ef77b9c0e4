"""The preparation of a server as a shell script: every fact is written into it."""

from pathlib import Path
from string import Template

from infra.hosts.host import Host, rules, rules_v6
from infra.hosts.kernel import settings


class _Script(Template):
    delimiter = "@"  # the shell has the dollar


def render(here: Host) -> str:
    """The same text for the same server: `apply`, `check` and `remove` are its verbs."""
    body = _Script(Path(__file__).with_name("prepare.sh").read_text(encoding="utf-8"))
    return body.substitute(
        stack=here.stack,
        server=here.server,
        chain=here.chain,
        settings="\n".join(
            f"{one.name} {one.relation} {one.value}" for one in settings(here.services)
        ),
        rules="\n".join(rules(here)),
        rules_v6="\n".join(rules_v6(here)),
    )
