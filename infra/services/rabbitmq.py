"""RabbitMQ: everything in its own folder, its own name server, nothing beyond its address."""

from infra.launch import Launch, Site, check, lines, secret

NAME = "rabbitmq"
USER = "helix"
PASSWORD = secret("rabbitmq")
COOKIE = secret("rabbitmq-cookie")
DISK_FREE_MIB_MIN = 256


def files(site: Site) -> dict[str, str]:
    """`rabbitmq.conf`, the plugins, and the cookie that lets a node's tools speak to it."""
    service = site.topology.service(NAME)
    conf, size = site.conf(service), site.size(service)
    amqp = site.address(NAME, "amqp")
    management, metrics = site.address(NAME, "management"), site.address(NAME, "metrics")
    settings = {
        "listeners.tcp.1": amqp,
        "management.tcp.ip": management.host,
        "management.tcp.port": management.port,
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
        str(site.data(service) / ".erlang.cookie"): COOKIE,
    }


def _env(site: Site) -> dict[str, str]:
    service = site.topology.service(NAME)
    conf, data = site.conf(service), site.data(service)
    names, distribution = site.address(NAME, "names"), site.address(NAME, "distribution")
    schedulers = max(1, int(site.size(service).cores))
    return {
        "HOME": str(data),
        "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
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
    data = site.data(service)
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
        nofile=8192,
        stop_s_max=30,
    )
