"""The engine's configuration: ours as JSON, its own as XML."""

from enum import StrEnum
from pathlib import Path
from xml.sax.saxutils import escape

import msgspec

from infra.engines.serving import Place

MIB = 1024 * 1024
PROCESS_MIB = 320  # the interpreter and the engine's own code, at rest
ENGINE_MIB_MIN = 256
QUERY_LOG_DAYS = 7
QUERY_LOG_FLUSH_MS = 2_000
READER_QUERY_S_MAX = 60
FOLDER_MODE = 0o700
FILE_MODE = 0o600

# `default` must be an ordinary database: left alone the embedded engine lays one over it that
# reads any file of the machine by its name.
DEFAULT_DATABASE = """\
ATTACH DATABASE _ UUID 'd1f4d6f2-3b0e-4c6a-9a53-5b1f0c7e2a10'
ENGINE = Atomic
"""


class Role(StrEnum):
    """What a user may do."""

    ADMIN = "admin"
    READER = "reader"


class User(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One who may connect."""

    name: str
    password: str
    role: Role


class Config(Place, frozen=True):
    """How one engine is run: `threads` requests at a time, within `memory_mib_max`."""

    data: str
    metrics: Place  # its figures, in plain
    memory_mib_max: int
    threads: int
    users: tuple[User, ...]


def lay_out(config: Config) -> str:
    """Write the engine's folder and files; its connection string."""
    root = Path(config.data).resolve()
    metadata = root / "engine" / "metadata"
    for folder in (metadata, root / "backups"):
        folder.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
    # The engine links the name again at each start and takes a link it finds for its own overlay.
    link = metadata / "default"
    if link.is_symlink():
        link.unlink()
    _write(metadata / "default.sql", DEFAULT_DATABASE)
    _write(root / "users.xml", render_users(config))
    _write(root / "engine.xml", render_engine(config, root))
    return f"{root / 'engine'}?config-file={root / 'engine.xml'}"


def _write(path: Path, text: str) -> None:
    path.touch(mode=FILE_MODE)
    path.write_text(text)


def engine_mib(config: Config) -> int:
    """What is left for the engine when the process itself has its share."""
    return max(config.memory_mib_max - PROCESS_MIB, ENGINE_MIB_MIN)


def render_engine(config: Config, root: Path) -> str:
    """`engine.xml`: absolute paths, bounded memory and logs, inserts on the disk when answered."""
    path = escape(str(root))
    memory = engine_mib(config) * MIB
    cache = memory // 16
    caches = "".join(
        f"  <{name}>{cache}</{name}>\n"
        for name in (
            "mark_cache_size",
            "index_mark_cache_size",
            "primary_index_cache_size",
            "vector_similarity_index_cache_size",
            "text_index_postings_cache_size",
        )
    )
    return f"""\
<clickhouse>
  <log-level>warning</log-level>
  <logger>
    <console>1</console>
    <levels><executeQuery>none</executeQuery></levels>
  </logger>
  <path>{path}/engine/</path>
  <tmp_path>{path}/engine/tmp/</tmp_path>
  <default_database>_embedded</default_database>
  <users_config>{path}/users.xml</users_config>
  <user_directories><users_xml><path>{path}/users.xml</path></users_xml></user_directories>
  <max_server_memory_usage>{memory}</max_server_memory_usage>
{caches}  <background_pool_size>2</background_pool_size>
  <background_schedule_pool_size>8</background_schedule_pool_size>
  <merge_tree>
    <fsync_after_insert>1</fsync_after_insert>
    <fsync_part_directory>1</fsync_part_directory>
    <number_of_free_entries_in_pool_to_execute_mutation>1</number_of_free_entries_in_pool_to_execute_mutation>
    <number_of_free_entries_in_pool_to_lower_max_size_of_merge>1</number_of_free_entries_in_pool_to_lower_max_size_of_merge>
    <number_of_free_entries_in_pool_to_execute_optimize_entire_partition>1</number_of_free_entries_in_pool_to_execute_optimize_entire_partition>
  </merge_tree>
  <storage_configuration>
    <disks><backups><type>local</type><path>{path}/backups/</path></backups></disks>
  </storage_configuration>
  <backups><allowed_disk>backups</allowed_disk></backups>
  <query_log>
    <database>system</database>
    <table>query_log</table>
    <partition_by>event_date</partition_by>
    <ttl>event_date + INTERVAL {QUERY_LOG_DAYS} DAY DELETE</ttl>
    <flush_interval_milliseconds>{QUERY_LOG_FLUSH_MS}</flush_interval_milliseconds>
  </query_log>
</clickhouse>
"""


def render_users(config: Config) -> str:
    """`users.xml`: the one account the embedded engine knows, and the bounds of a reader."""
    query = engine_mib(config) * MIB // 2
    return f"""\
<clickhouse>
  <profiles>
    <default>
      <max_memory_usage>{query}</max_memory_usage>
      <max_bytes_before_external_group_by>{query // 2}</max_bytes_before_external_group_by>
      <max_bytes_before_external_sort>{query // 2}</max_bytes_before_external_sort>
    </default>
    <reader>
      <constraints>
        <max_execution_time><max>{READER_QUERY_S_MAX}</max></max_execution_time>
        <max_memory_usage><min>1</min><max>{query}</max></max_memory_usage>
      </constraints>
    </reader>
  </profiles>
  <users>
    <default>
      <password></password>
      <networks><ip>::/0</ip></networks>
      <profile>default</profile>
      <quota>default</quota>
      <grants>
        <query>GRANT ALL ON *.*</query>
        <query>REVOKE FILE ON *.*</query>
      </grants>
    </default>
  </users>
  <quotas><default/></quotas>
</clickhouse>
"""
