"""PostgreSQL: a superuser nobody can log in as, and one role that owns the two databases."""

from infra.launch import Address, Init, Launch, Site, Tls, check, lines, secret
from infra.services import health

NAME = "postgres"
USER = "helix"
PASSWORD = secret("postgres")
DATABASE = "helix"
DATABASE_LAKE = "lake"  # the Iceberg catalogue's tables
ACCOUNT = "postgres"  # PostgreSQL refuses to run as root
CONNECTIONS_MAX = 64

# It may make databases: a backup is proven by restoring it beside the original.
# One statement a line: the single-user mode ends a statement at the newline.
ROLES = f"""\
CREATE ROLE {USER} LOGIN CREATEDB PASSWORD '{PASSWORD}' IN ROLE pg_monitor;
CREATE DATABASE {DATABASE} OWNER {USER};
CREATE DATABASE {DATABASE_LAKE} OWNER {USER};
"""

# Made beside its final place and renamed: an interrupted run leaves nothing that looks finished.
INITIALISE = """\
set -eu
data=$1 new=$1.new bin=$2 roles=$3
rm -rf "$new"
"$bin/initdb" -D "$new" -U postgres -E UTF8 --locale=C.UTF-8 \
    --auth-local=reject --auth-host=scram-sha-256
"$bin/postgres" --single -D "$new" -c exit_on_error=true template1 < "$roles"
rmdir "$data" 2>/dev/null || test ! -e "$data"
mv "$new" "$data"
"""

# PostgreSQL takes a private key only from a file of its own that nobody else may read.
KEY = "/tmp/helix/postgres/server.key"  # noqa: S108 - inside a container: nobody else's
COPY_KEY = 'umask 077; mkdir -p "${2%/*}" && cat "$1" > "$2"'
ACCESS = "hostssl all all all scram-sha-256\n"


def files(site: Site) -> dict[str, str]:
    """`postgresql.conf`, who may connect, and the statements that make roles and databases."""
    service = site.topology.service(NAME)
    conf, size, address = site.conf(service), site.size(service), site.listen(NAME, "sql")
    cluster, tls = site.data(service) / "cluster", site.tls(service)
    access = conf / "pg_hba.conf" if tls else cluster / "pg_hba.conf"
    settings = {
        "data_directory": f"'{cluster}'",
        "hba_file": f"'{access}'",
        "ident_file": f"'{cluster / 'pg_ident.conf'}'",
        "listen_addresses": f"'{address.host}'",
        "port": address.port,
        "unix_socket_directories": "''",
        "max_connections": CONNECTIONS_MAX,
        "shared_buffers": f"{size.cache_mib}MB",
        "effective_cache_size": f"{size.memory_mib}MB",
        "max_wal_size": f"{max(256, size.memory_mib // 2)}MB",
        "log_line_prefix": "'%m %d %u '",
        "timezone": "'UTC'",
        **(_encrypted(tls) if tls else {}),
    }
    return {
        str(conf / "postgresql.conf"): lines(settings, between=" = "),
        str(conf / "roles.sql"): ROLES,
        **({str(access): ACCESS} if tls else {}),
    }


def _encrypted(tls: Tls) -> dict[str, str]:
    return {
        "ssl": "on",
        "ssl_cert_file": f"'{tls.certificate}'",
        "ssl_key_file": f"'{KEY}'",
        "ssl_ca_file": f"'{tls.authority}'",
        "ssl_min_protocol_version": "'TLSv1.2'",
    }


def _init(cluster: str, programs: str, roles: str, tls: Tls | None) -> tuple[Init, ...]:
    made = Init(
        argv=("sh", "-c", INITIALISE, "sh", cluster, programs, roles),
        unless=f"{cluster}/PG_VERSION",
        env={"LANG": "C.UTF-8", "PATH": "/usr/bin:/bin"},
    )
    return (made, Init(argv=("sh", "-c", COPY_KEY, "sh", tls.key, KEY))) if tls else (made,)


def _health(programs: str, listen: Address) -> tuple[str, ...]:
    at = (f"--host={health.inside(listen)}", f"--port={listen.port}")
    return (f"{programs}/pg_isready", "--quiet", *at, f"--username={USER}", f"--dbname={DATABASE}")


def process(site: Site) -> Launch:
    """The server, after its cluster was made."""
    service = site.topology.service(NAME)
    conf, data, tls = site.conf(service), site.data(service), site.tls(service)
    # Debian keeps the servers of each major version apart.
    major = site.topology.artifact(NAME).version
    programs = str(site.part(NAME, f"lib/postgresql/{major}/bin"))
    cluster = str(data / "cluster")
    return Launch(
        name=NAME,
        argv=(f"{programs}/postgres", f"--config-file={conf / 'postgresql.conf'}"),
        check=check(site, service, user=USER, password=PASSWORD, database=DATABASE),
        cwd=str(data),
        env={"LANG": "C.UTF-8"},
        user=site.account(ACCOUNT),
        files=files(site),
        folders=(str(data),),
        init=_init(cluster, programs, str(conf / "roles.sql"), tls),
        health=_health(programs, site.listen(NAME, "sql")) if tls else (),
        stop_signal="INT",  # the fast shutdown: TERM would wait for every client to leave
        stop_s_max=30,
    )
