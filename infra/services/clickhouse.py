"""ClickHouse: its official server, or its real engine behind the same HTTP interface."""

from pathlib import Path

from infra.launch import Launch, Site, Tls, check, secret
from infra.services import engines, health

NAME = "clickhouse"
USER = "helix"
PASSWORD = secret("clickhouse")
DATABASE = "helix"
READER = "reader"  # runs the analytics a caller wrote: may only read
READER_PASSWORD = secret("clickhouse-reader")
REQUESTS_MIN = 4  # at a time: one long query must not make the others wait
MIB = 1024 * 1024
SERVER_SHARE = 0.9  # of the container's memory: the rest is the allocator's and the program's own
CACHE_SHARE = 1 / 16  # of the server's memory, for marks
QUERY_SHARE = 0.5  # of the server's memory, for one query
READER_QUERY_S_MAX = 60
QUERY_LOG_DAYS = 7
PROGRAM = "/usr/bin/clickhouse-server"  # in the official image


def files(site: Site) -> dict[str, str]:
    """The engine's configuration."""
    service = site.topology.service(NAME)
    size, metrics = site.size(service), site.listen(NAME, "metrics")
    own: dict[str, object] = {
        "metrics": {"host": metrics.host, "port": metrics.port},
        "memory_mib_max": size.memory_mib,
        "threads": max(REQUESTS_MIN, int(size.cores)),
        "users": [
            {"name": USER, "password": PASSWORD, "role": "admin"},
            {"name": READER, "password": READER_PASSWORD, "role": "reader"},
        ],
    }
    return engines.files(site, service, own)


def process(site: Site) -> Launch:
    """One process."""
    return engines.process(site, site.topology.service(NAME), files(site))


def container(site: Site) -> Launch:
    """The official server: HTTPS, figures beside it, two users nobody changes at run time."""
    service = site.topology.service(NAME)
    conf, data, tls = site.conf(service), site.data(service), site.tls(service)
    if tls is None:
        return process(site)
    listen, probe = site.listen(NAME, "http"), service.probe
    answer = f"https://{health.inside(listen)}:{listen.port}{probe.path}"
    return Launch(
        name=NAME,
        argv=(PROGRAM, f"--config-file={conf / 'config.xml'}"),
        check=check(site, service),
        cwd=str(data),
        env={"CLICKHOUSE_WATCHDOG_ENABLE": "0"},  # one process: the container's engine restarts it
        files={
            str(conf / "config.xml"): _server(site, tls),
            str(conf / "users.xml"): _users(_query_bytes(site)),
        },
        folders=(str(data / "temporary"), str(data / "user_files"), str(data / "backups")),
        health=health.shell(
            f"wget -q -O - --ca-certificate={tls.authority} {answer} | grep -q '{probe.expect}'"
        ),
        nofile=262_144,  # a part is a folder of files, and many are open at once
        stop_s_max=60,
    )


def _server_bytes(site: Site) -> int:
    return int(site.size(site.topology.service(NAME)).memory_mib * SERVER_SHARE) * MIB


def _query_bytes(site: Site) -> int:
    return int(_server_bytes(site) * QUERY_SHARE)


def _server(site: Site, tls: Tls) -> str:
    """`config.xml`: what is not named here, like the native protocol, is not opened."""
    service = site.topology.service(NAME)
    data, listen = site.data(service), site.listen(NAME, "http")
    metrics, memory = site.listen(NAME, "metrics"), _server_bytes(site)
    return f"""\
<clickhouse>
  <logger><level>information</level><console>1</console></logger>
  <listen_host>{listen.host}</listen_host>
  <https_port>{listen.port}</https_port>
{_openssl(tls)}  <path>{data}/</path>
  <tmp_path>{data}/temporary/</tmp_path>
  <user_files_path>{data}/user_files/</user_files_path>
  <default_database>default</default_database>
  <user_directories><users_xml><path>{_beside(site)}</path></users_xml></user_directories>
  <access_control_improvements>
    <select_from_system_db_requires_grant>true</select_from_system_db_requires_grant>
    <select_from_information_schema_requires_grant>true</select_from_information_schema_requires_grant>
  </access_control_improvements>
  <max_server_memory_usage>{memory}</max_server_memory_usage>
  <mark_cache_size>{int(memory * CACHE_SHARE)}</mark_cache_size>
  <merge_tree>
    <fsync_after_insert>1</fsync_after_insert>
    <fsync_part_directory>1</fsync_part_directory>
  </merge_tree>
  <storage_configuration>
    <disks><backups><type>local</type><path>{data}/backups/</path></backups></disks>
  </storage_configuration>
  <backups><allowed_disk>backups</allowed_disk></backups>
  <query_log>
    <database>system</database>
    <table>query_log</table>
    <partition_by>event_date</partition_by>
    <ttl>event_date + INTERVAL {QUERY_LOG_DAYS} DAY DELETE</ttl>
  </query_log>
  <!-- In plain, on the address that all its ports listen on; no page of the HTTPS port. -->
  <prometheus>
    <port>{metrics.port}</port>
    <endpoint>/metrics</endpoint>
    <metrics>true</metrics>
    <events>true</events>
    <asynchronous_metrics>true</asynchronous_metrics>
  </prometheus>
</clickhouse>
"""


def _beside(site: Site) -> Path:
    return site.conf(site.topology.service(NAME)) / "users.xml"


def _openssl(tls: Tls) -> str:
    return f"""\
  <openSSL>
    <server>
      <certificateFile>{tls.certificate}</certificateFile>
      <privateKeyFile>{tls.key}</privateKeyFile>
      <verificationMode>none</verificationMode>
      <loadDefaultCAFile>false</loadDefaultCAFile>
      <disableProtocols>sslv2,sslv3,tlsv1,tlsv1_1</disableProtocols>
    </server>
  </openSSL>
"""


def _users(query_bytes: int) -> str:
    """`users.xml`: one may do everything but read the machine's files, one only read."""
    return f"""\
<clickhouse>
  <profiles>
    <default>
      <max_memory_usage>{query_bytes}</max_memory_usage>
      <max_bytes_before_external_group_by>{query_bytes // 2}</max_bytes_before_external_group_by>
      <max_bytes_before_external_sort>{query_bytes // 2}</max_bytes_before_external_sort>
    </default>
    <reader>
      <!-- Reads, and may still say how: clients send settings with every question. -->
      <readonly>2</readonly>
      <max_memory_usage>{query_bytes}</max_memory_usage>
      <max_execution_time>{READER_QUERY_S_MAX}</max_execution_time>
      <constraints>
        <max_execution_time><min>1</min><max>{READER_QUERY_S_MAX}</max></max_execution_time>
        <max_memory_usage><min>1</min><max>{query_bytes}</max></max_memory_usage>
      </constraints>
    </reader>
  </profiles>
  <users>
    <{USER}>
      <password>{PASSWORD}</password>
      <networks><ip>::/0</ip></networks>
      <profile>default</profile>
      <quota>default</quota>
      <grants>
        <query>GRANT ALL ON *.*</query>
        <query>REVOKE FILE ON *.*</query>
      </grants>
    </{USER}>
    <{READER}>
      <password>{READER_PASSWORD}</password>
      <networks><ip>::/0</ip></networks>
      <profile>reader</profile>
      <quota>default</quota>
      <grants>
        <query>GRANT SELECT ON {DATABASE}.*</query>
      </grants>
    </{READER}>
  </users>
  <quotas><default/></quotas>
</clickhouse>
"""
