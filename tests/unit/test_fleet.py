"""A fleet as values: addresses, commands, rules, and what its image holds."""

from pathlib import Path

import pytest

from helix.errors import InvalidError, TopologyError
from helix.topology.catalog import CATALOG
from helix.topology.model import Debian
from infra.fleet import debian_root, engines, image, layout, mounts, network
from infra.fleet.cgroups import engine_folder, folders, hierarchy, pids
from infra.fleet.faults import silence
from infra.fleet.layout import Account, Folder, Places
from infra.fleet.network import Seen
from infra.fleet.plan import HOME_CHARS_MAX, Fleet
from infra.substrates.docker import QUICK_JAVA, environment
from infra.substrates.wanted import Sizes
from tests.unit.rendered import CONTAINERS

HOME = Path("/srv/fleets/fleet")
FLEET = Fleet(home=HOME)
FIRST, SECOND, THIRD = FLEET.hosts
NAMESPACES = frozenset(host.namespace for host in FLEET.hosts)
WHOLE = Seen(
    links=frozenset({FLEET.bridge, *(host.link for host in FLEET.hosts)}),
    namespaces=NAMESPACES,
    wired=NAMESPACES,
    sound=NAMESPACES,
)
PLACES = Places(
    cache=Path("/cache"),
    checkout=Path("/checkout"),
    environment=Path("/environment"),
    interpreter=Path("/python"),
    java=Path("/usr/lib/jvm/java-17/bin/java"),
)


def test_servers_have_the_names_of_the_catalogue_and_addresses_of_the_subnet() -> None:
    other = Fleet(home=HOME, name="other", subnet="10.79.0.0/24")

    assert [host.server for host in FLEET.hosts] == [server.name for server in CATALOG.servers]
    assert [host.address for host in FLEET.hosts] == ["10.77.0.11", "10.77.0.12", "10.77.0.13"]
    assert FLEET.gateway == "10.77.0.1"
    assert other.host("server-2").address == "10.79.0.12"


def test_two_fleets_share_no_name() -> None:
    other = Fleet(home=HOME, name="other")

    mine = {name for host in FLEET.hosts for name in (host.namespace, host.link, host.cgroup)}
    theirs = {name for host in other.hosts for name in (host.namespace, host.link, host.cgroup)}

    assert not mine & theirs
    assert FLEET.bridge != other.bridge


def test_the_longest_name_fits_into_an_interface() -> None:
    fleet = Fleet(home=HOME, name="a234567890")

    assert all(len(host.link) <= 15 for host in fleet.hosts)


@pytest.mark.parametrize("name", ["", "Fleet", "a2345678901", "a-b", "1a"])
def test_a_name_that_the_kernel_would_refuse_is_refused(name: str) -> None:
    with pytest.raises(InvalidError, match="cannot name a fleet"):
        Fleet(home=HOME, name=name)


def test_a_home_too_long_for_sockets_is_refused() -> None:
    with pytest.raises(InvalidError, match="too long"):
        Fleet(home=Path("/" + "x" * HOME_CHARS_MAX))


def test_a_server_outside_the_fleet_is_named() -> None:
    with pytest.raises(InvalidError, match="`server-9` is not in the fleet"):
        FLEET.host("server-9")


def test_an_empty_machine_gets_bridge_namespaces_and_cables() -> None:
    lines = network.complete(FLEET, Seen())

    assert lines[0] == "link add hx-fleet type bridge"
    assert lines.count("netns add helix-fleet-srv1") == 1
    assert "link add hx-fleet-1 type veth peer name eth0 netns helix-fleet-srv1" in lines


def test_a_whole_network_gets_nothing_new() -> None:
    lines = network.complete(FLEET, WHOLE)

    assert not [line for line in lines if " add " in line or " del " in line]


def test_a_cable_with_one_end_is_laid_anew() -> None:
    half = Seen(
        links=WHOLE.links,
        namespaces=NAMESPACES,
        sound=NAMESPACES,
        wired=NAMESPACES - {FIRST.namespace},
    )

    lines = network.complete(FLEET, half)

    changes = [line for line in lines if " add " in line or " del " in line]
    assert changes == [
        "link del hx-fleet-1",
        "link add hx-fleet-1 type veth peer name eth0 netns helix-fleet-srv1",
    ]


def test_a_name_without_a_namespace_behind_it_is_made_anew() -> None:
    stale = Seen(links=WHOLE.links - {FIRST.link}, namespaces=NAMESPACES)

    lines = network.complete(FLEET, stale)

    assert lines.index("netns del helix-fleet-srv1") < lines.index("netns add helix-fleet-srv1")


def test_only_what_is_there_is_taken_away() -> None:
    half = Seen(links=frozenset({FLEET.bridge}), namespaces=frozenset({FIRST.namespace}))

    assert network.remove(FLEET, Seen()) == []
    assert network.remove(FLEET, half) == ["link del hx-fleet", "netns del helix-fleet-srv1"]


def test_a_server_reaches_the_others_through_the_bridge() -> None:
    assert network.inside(FLEET, SECOND) == [
        "link set lo up",
        "addr replace 10.77.0.12/24 dev eth0",
        "link set eth0 up",
        "route replace default via 10.77.0.1",
    ]


def test_an_engine_leaves_the_network_of_this_machine_alone() -> None:
    told = engines.settings(FLEET, FIRST)

    assert told["bridge"] == "none"
    assert told["iptables"] is False
    assert told["ip-forward"] is False
    assert told["labels"] == ["server=server-1"]
    assert told["hosts"] == ["unix:///srv/fleets/fleet/server-1/docker.sock"]


def test_a_fleet_may_tell_its_engines_otherwise() -> None:
    fleet = Fleet(home=HOME, engine={"live-restore": False})

    assert engines.settings(FLEET, FIRST)["live-restore"] is True
    assert engines.settings(fleet, FIRST)["live-restore"] is False


def test_an_engine_enters_its_group_and_its_server_before_it_starts() -> None:
    command = engines.command(FIRST, Path("/groups/engine"))

    assert command[:2] == ["setsid", "--fork"]
    assert command.index("/groups/engine/cgroup.procs") < command.index("nsenter")
    assert "--net=/run/netns/helix-fleet-srv1" in command
    assert command[-2:] == ["--config-file", "/srv/fleets/fleet/server-1/daemon.json"]


def test_a_server_cut_from_its_peers_still_hears_this_machine() -> None:
    rules = silence(FLEET.peers(FIRST))

    assert "-A PREROUTING -s 10.77.0.12 -j DROP" in rules
    assert "-A OUTPUT -d 10.77.0.13 -j DROP" in rules
    assert not [rule for rule in rules if FLEET.gateway in rule.split()]
    assert not [rule for rule in rules if FIRST.address in rule.split()]


def test_mounts_below_a_folder_end_in_reverse_order() -> None:
    table = (
        "a /srv/one ext4 rw 0 0\nb /srv/one/two\\040three ext4 rw 0 0\nc /srv/oneself ext4 rw 0 0\n"
    )

    assert mounts.below(Path("/srv/one"), table) == ["/srv/one/two three", "/srv/one"]


def test_processes_of_a_group_and_its_children_are_found(tmp_path: Path) -> None:
    inner = tmp_path / "pids" / FIRST.cgroup / "container"
    inner.mkdir(parents=True)
    (inner / "cgroup.procs").write_text("7\n8\n")
    (inner.parent / "cgroup.procs").write_text("")
    (tmp_path / "memory" / FIRST.cgroup).mkdir(parents=True)

    assert pids(hierarchy(tmp_path) / FIRST.cgroup) == [7, 8]
    assert {folder.parent.name for folder in folders(FIRST, tmp_path)} == {"pids", "memory"}
    assert engine_folder(FIRST, tmp_path) == inner.parent / "engine"


def test_one_tree_of_groups_is_asked_itself(tmp_path: Path) -> None:
    assert hierarchy(tmp_path) == tmp_path


def test_the_image_has_the_packages_of_the_catalogue() -> None:
    wanted = debian_root.recipe(CATALOG)

    assert {"postgresql-15", "redis-server", "openjdk-17-jre-headless"} <= set(wanted.packages)


def test_another_recipe_is_another_folder() -> None:
    wanted = debian_root.recipe(CATALOG)
    other = debian_root.Recipe(packages=(*wanted.packages, "more"))

    assert debian_root.path(wanted, HOME) != debian_root.path(other, HOME)


def test_the_mirrors_are_those_of_this_machine_for_the_suite_alone() -> None:
    targets = (
        "http://mirror.example/debian/ bookworm main\n"
        "http://mirror.example/debian/ bookworm contrib\n"
        "http://mirror.example/security/ bookworm-security main\n"
        "http://other.example/ nodistro main\n"
    )

    assert debian_root.mirrors(targets, "bookworm") == [
        "deb http://mirror.example/debian/ bookworm main",
        "deb http://mirror.example/security/ bookworm-security main",
    ]


def test_only_settings_about_reaching_mirrors_go_into_the_image() -> None:
    dump = (
        'Acquire "";\nAcquire::http::Proxy "http://proxy.example:3128";\n'
        'Acquire::Check-Date "false";\nDPkg::Pre-Invoke:: "rm -rf /";\nAcquire::Languages "none";\n'
    )

    assert debian_root.reaching(dump) == (
        'Acquire::http::Proxy "http://proxy.example:3128";\nAcquire::Check-Date "false";\n'
    )


def test_without_mirrors_the_distribution_is_asked_where_it_is_by_default() -> None:
    wanted = debian_root.Recipe(packages=("one", "two"))
    settings, target = Path("/s"), Path("/t")

    default = debian_root.command(wanted, target, sources=None, settings=settings)
    told = debian_root.command(wanted, target, sources=Path("/l"), settings=settings)

    assert "--include=one,two" in default
    assert default[-1] == "/t"
    assert told[-1] == "/l"


def part(wanted: str) -> Path:
    """Packages of the distribution below /usr, everything else below the cache."""
    name, _, inner = wanted.partition("/")
    packaged = isinstance(CATALOG.artifact(name), Debian)
    return Path("/usr", inner) if packaged else PLACES.cache / wanted


def planned(tmp_path: Path) -> layout.Layout:
    """The catalogue's layout for a checkout of two folders."""
    (tmp_path / "helix").mkdir()
    (tmp_path / ".git").mkdir()
    places = Places(
        cache=PLACES.cache,
        checkout=tmp_path,
        environment=PLACES.environment,
        interpreter=PLACES.interpreter,
        java=PLACES.java,
    )
    return layout.layout(CATALOG, places, part=part, root=Path("/opt/helix"))


def test_programs_are_where_the_official_images_have_them(tmp_path: Path) -> None:
    plan = planned(tmp_path)

    assert plan.links["/opt/kafka/libs"] == "/cache/kafka/lib"
    assert plan.links["/opt/java/openjdk"] == "/usr/lib/jvm/java-17"
    assert plan.links["/usr/bin/node_exporter"].endswith("/bin/prometheus-node-exporter")
    assert plan.scripts["/usr/bin/python3"].endswith('exec /environment/bin/python "$@"\n')


def test_our_image_is_the_checkout_with_its_environment(tmp_path: Path) -> None:
    plan = planned(tmp_path)

    assert plan.links["/opt/helix/helix"] == str(tmp_path / "helix")
    assert plan.links["/opt/helix/.venv"] == "/environment"
    assert "/opt/helix/.git" not in plan.links


def test_a_mount_point_belongs_to_the_user_of_its_image(tmp_path: Path) -> None:
    folders = {folder.path: folder for folder in planned(tmp_path).folders}

    assert folders["/prometheus"] == Folder(path="/prometheus", uid=65534, mode=0o755)


def test_a_mount_point_of_several_users_is_open_to_all(tmp_path: Path) -> None:
    folders = {folder.path: folder for folder in planned(tmp_path).folders}

    assert folders["/data"].mode == 0o777


def test_one_place_cannot_be_two_things() -> None:
    row = CATALOG.images[0]
    links = {"/opt/one": "/cache/one"}

    with pytest.raises(TopologyError, match="`/opt/one` is `/cache/one` for one image"):
        layout.add(links, "/opt/one", "/cache/two", row)


def test_an_account_stands_before_others_of_its_number() -> None:
    text = "root:x:0:0::/root:/bin/sh\nredis:x:102:105::/:/bin/sh\nepmd:x:101:1::/:/bin/sh\n"

    table = layout.passwd(text, (Account(name="redis", uid=999), Account(name="ch", uid=101)))

    names = [row.split(":")[0] for row in table.splitlines()]
    assert names == ["root", "redis", "ch", "epmd"]


def tree(tmp_path: Path) -> Path:
    """A file system with one program."""
    grown = tmp_path / "tree"
    (grown / "usr" / "bin").mkdir(parents=True)
    (grown / "usr" / "bin" / "server").write_text("the distribution's")
    return grown


def test_a_folder_of_the_distribution_takes_each_program(tmp_path: Path) -> None:
    grown, artifact = tree(tmp_path), tmp_path / "artifact"
    artifact.mkdir()
    (artifact / "minio").touch()

    image.link(grown, "/usr/bin", str(artifact))

    assert (grown / "usr/bin/minio").readlink() == artifact / "minio"
    assert (grown / "usr/bin/server").exists()


def test_a_program_is_replaced_and_never_written_through(tmp_path: Path) -> None:
    grown = tree(tmp_path)
    (grown / "twin").hardlink_to(grown / "usr/bin/server")

    image.link(grown, "/usr/bin/server", "/cache/server")

    assert (grown / "usr/bin/server").readlink() == Path("/cache/server")
    assert (grown / "twin").read_text() == "the distribution's"


def test_nothing_is_written_through_a_link_out_of_the_tree(tmp_path: Path) -> None:
    grown, outside = tree(tmp_path), tmp_path / "outside"
    outside.mkdir()
    image.link(grown, "/opt/part", str(outside))

    with pytest.raises(TopologyError, match="inside another part"):
        image.link(grown, "/opt/part/inner", "/cache/inner")
    assert not list(outside.iterdir())


def test_what_lies_inside_a_bound_folder_is_bound_with_it() -> None:
    places = Places(
        cache=PLACES.cache,
        checkout=PLACES.checkout,
        environment=PLACES.checkout / ".venv",
        interpreter=Path("/usr"),
        java=PLACES.java,
    )

    bound = [str(bind) for bind in image.binds(places, Path("/cache/image"))]

    assert bound == ["/cache/image/tree/usr:/usr", "/cache:/cache", "/checkout:/checkout"]


def test_java_compiles_quickly_on_a_laptop_and_thoroughly_elsewhere() -> None:
    kafka = next(one for one in CONTAINERS if one.instance.service == "kafka")

    here, there = (set(environment(kafka, sizes)) for sizes in (Sizes.LAPTOP, Sizes.PRODUCTION))

    assert here - there == {f"{name}={value}" for name, value in QUICK_JAVA.items()}
    assert there == {f"{name}={value}" for name, value in kafka.launch.env.items()}
