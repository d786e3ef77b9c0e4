"""Property values, and what differs between two states of a resource."""

import msgspec
import pytest
from pulumi.provider.experimental.property_value import PropertyValue

from helix.adapters.probes import Check
from helix.errors import InvalidError
from helix.topology.model import ProbeKind
from infra.launch import Launch
from infra.provider.plugin import checked
from infra.provider.values import COMPUTED, Kind, changes, plain, unknown, within, wrap, wrap_all

PROCESS = "helix:local:Process"
LAUNCH = Launch(
    name="web",
    argv=("server", "-v"),
    check=Check(service="web", kind=ProbeKind.HTTP, host="127.0.0.1", port=21199),
    cwd="/",
    env={"PORT": "1"},
)


def process(**more: object) -> dict[str, PropertyValue]:
    given = {"home": "/var/lib/helix/unit", "launch": msgspec.to_builtins(LAUNCH)}
    return wrap_all({**given, **more})


def reasons(given: dict[str, PropertyValue]) -> dict[str, str]:
    _, failures = checked(PROCESS, given)
    return {failure.property: failure.reason for failure in failures}


def test_a_value_survives_the_wire() -> None:
    value = {"a": [1, 2.5, "x", True, None], "b": {}, "c": []}

    assert plain(wrap(value)) == value


def test_a_value_is_unknown_when_any_part_is() -> None:
    assert unknown(PropertyValue([wrap("a"), COMPUTED]))
    assert not unknown(wrap({"a": ["b"]}))


def test_only_what_differs_is_named() -> None:
    old = {"argv": ["a", "b"], "env": {"A": "1", "B": "2"}, "files": {"/etc/x.conf": "1"}}
    new = {"argv": ["a", "c", "d"], "env": {"A": "1"}, "files": {"/etc/x.conf": "2"}}

    assert changes(old, new) == {
        "argv[1]": Kind.UPDATE,
        "argv[2]": Kind.ADD,
        "env.B": Kind.DELETE,
        'files["/etc/x.conf"]': Kind.UPDATE,
    }


def test_an_unknown_value_is_a_change() -> None:
    assert changes({"a": "1"}, {"a": plain(COMPUTED)}) == {"a": Kind.UPDATE}


def test_a_part_belongs_to_its_property() -> None:
    assert within("launch.env.A", ["launch"])
    assert within("argv[1]", ["argv"])
    assert not within("launcher", ["launch"])


def test_equal_launches_have_no_difference_however_they_were_written() -> None:
    short = msgspec.to_builtins(LAUNCH)
    del short["files"], short["stop_s_max"]

    inputs, failures = checked(PROCESS, process(launch=short))

    assert failures == []
    assert changes(plain(inputs["launch"]), plain(process()["launch"])) == {}


def test_a_misspelt_property_is_refused_by_name() -> None:
    assert "is unknown" in reasons(process(hoem="/x"))["hoem"]
    launch = {**msgspec.to_builtins(LAUNCH), "arvg": []}
    assert "`arvg`" in reasons(process(launch=launch))["launch"]


def test_a_wrong_type_is_refused_at_its_place() -> None:
    launch = {**msgspec.to_builtins(LAUNCH), "nofile": "many"}

    assert reasons(process(launch=launch)) == {"launch.nofile": "Expected `int`, got `str`"}


def test_a_missing_property_is_named() -> None:
    assert "is missing" in reasons({"home": wrap("/x")})["launch"]


def test_what_is_not_known_yet_is_not_judged_yet() -> None:
    launch = PropertyValue({**wrap_all(msgspec.to_builtins(LAUNCH)), "cwd": COMPUTED})

    assert reasons({**process(), "launch": launch}) == {}


def test_a_secret_mark_survives_the_check() -> None:
    inputs, _ = checked(PROCESS, {**process(), "home": PropertyValue("/x", is_secret=True)})

    assert inputs["home"].is_secret


def test_an_unknown_resource_names_the_known_ones() -> None:
    with pytest.raises(InvalidError, match="`helix:local:Supervisor`"):
        checked("helix:local:Container", {})
