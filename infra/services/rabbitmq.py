"""RabbitMQ: everything in its own folder, its own name server, nothing beyond its address."""

from infra.launch import Address, Init, Launch, Site, Tls, check, lines, secret
from infra.services import health

NAME = "rabbitmq"
USER = "helix"
PASSWORD = secret("rabbitmq")
COOKIE = secret("rabbitmq-cookie")
DISK_FREE_MIB_MIN = 256
PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
PATH_OFFICIAL = "/opt/rabbitmq/sbin:/opt/erlang/bin:/opt/openssl/bin"  # of the official image
# Erlang refuses a cookie that is another account's, or that others may read.
COPY_COOKIE = 'umask 077; cat "$1" > "$2.new" && chmod 0400 "$2.new" && mv -f "$2.new" "$2"'


def files(site: Site) -> dict[str, str]:
    """`rabbitmq.conf`, the plugins, and the cookie that lets a node's tools speak to it."""
    service = site.topology.service(NAME)
    conf, size, tls = site.conf(service), site.size(service), site.tls(service)
    amqp, management = site.listen(NAME, "amqp"), site.listen(NAME, "management")
    metrics = site.listen(NAME, "metrics")
    settings = {
        **(_encrypted(amqp, management, tls) if tls else _plain(amqp, management)),
        "prometheus.tcp.ip": metrics.host,
        "prometheus.tcp.port": metrics.port,
        "default_user": USER,
        "default_pass": PASSWORD,
        "vm_memory_high_watermark.absolute": f"{size.memory_mib * 4 // 5}MiB",
        "disk_free_limit.absolute": f"{DISK_FREE_MIB_MIN}MiB",
        "log.console": "true",
        "log.file": "false",
    }
    return {
        str(conf / "rabbitmq.conf"): lines(settings, between=" = "),
        str(conf / "enabled_plugins"): "[rabbitmq_management,rabbitmq_prometheus].\n",
        _cookie(site): COOKIE,
    }


def _cookie(site: Site) -> str:
    """Where it is put: on other machines beside the configuration, and copied at every start."""
    service = site.topology.service(NAME)
    if site.tls(service):
        return str(site.conf(service) / "cookie")
    return str(site.data(service) / ".erlang.cookie")


def _plain(amqp: Address, management: Address) -> dict[str, object]:
    return {
        "listeners.tcp.1": amqp,
        "management.tcp.ip": management.host,
        "management.tcp.port": management.port,
    }


def _encrypted(amqp: Address, management: Address, tls: Tls) -> dict[str, object]:
    certificate = {
        "cacertfile": tls.authority,
        "certfile": tls.certificate,
        "keyfile": tls.key,
        "versions.1": "tlsv1.3",
        "versions.2": "tlsv1.2",
    }
    return {
        "listeners.tcp": "none",
        "listeners.ssl.1": amqp,
        **{f"ssl_options.{key}": value for key, value in certificate.items()},
        "ssl_options.verify": "verify_none",  # clients prove themselves by their password
        "ssl_options.fail_if_no_peer_cert": "false",
        "management.ssl.ip": management.host,
        "management.ssl.port": management.port,
        **{f"management.ssl.{key}": value for key, value in certificate.items()},
    }


def _env(site: Site) -> dict[str, str]:
    service = site.topology.service(NAME)
    conf, data = site.conf(service), site.data(service)
    names, distribution = site.listen(NAME, "names"), site.listen(NAME, "distribution")
    schedulers = max(1, int(site.size(service).cores))
    return {
        "HOME": str(data),
        "PATH": f"{PATH_OFFICIAL}:{PATH}" if site.tls(service) else PATH,
        "RABBITMQ_NODENAME": f"{site.stack}@localhost",
        "RABBITMQ_CONF_ENV_FILE": "/dev/null",  # the distribution's own settings are not ours
        "RABBITMQ_CONFIG_FILE": str(conf / "rabbitmq.conf"),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(conf / "enabled_plugins"),
        "RABBITMQ_MNESIA_BASE": str(data / "mnesia"),
        "RABBITMQ_LOG_BASE": str(data / "log"),
        "RABBITMQ_PID_FILE": str(data / "pid"),
        "RABBITMQ_DIST_PORT": str(distribution.port),
        "ERL_EPMD_PORT": str(names.port),
        "ERL_EPMD_ADDRESS": names.host,
        # Makes the script become the virtual machine rather than its parent: one process.
        "RABBITMQ_ALLOW_INPUT": "true",
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": (
            f"+S {schedulers}:{schedulers} +sbwt none +sbwtdcpu none +sbwtdio none"
            f" -kernel inet_dist_use_interface {{{distribution.host.replace('.', ',')}}}"
        ),
    }


def process(site: Site) -> Launch:
    """One virtual machine; its name server outlives it and is reaped with the supervisor."""
    service = site.topology.service(NAME)
    data, tls = site.data(service), site.tls(service)
    cookie = Init(argv=("sh", "-c", COPY_COOKIE, "sh", _cookie(site), str(data / ".erlang.cookie")))
    return Launch(
        name=NAME,
        argv=(
            str(site.part(NAME, "lib/rabbitmq/bin/rabbitmq-server")),
            "-noinput",
        ),
        check=check(site, service),
        cwd=str(data),
        env=_env(site),
        files=files(site),
        folders=(str(data), str(data / "mnesia"), str(data / "log")),
        init=(cookie,) if tls else (),
        # Its own tools start a second virtual machine for every question.
        health=health.page(site.listen(NAME, "metrics"), "/metrics", "rabbitmq_") if tls else (),
        nofile=8192,
        stop_s_max=30,
    )
