"""The engine's figures in Prometheus' text format, under the server's own names."""

_LINES = """
SELECT concat('# HELP {prefix}_', {name}, ' ', replaceAll({help}, '\n', ' '),
  '\n# TYPE {prefix}_', {name}, ' {kind}\n{prefix}_', {name}, ' ', toString(value))
FROM {table} ORDER BY 1
"""

GAUGES = _LINES.format(
    prefix="ClickHouseMetrics",
    name="metric",
    help="description",
    kind="gauge",
    table="system.metrics",
)
COUNTERS = _LINES.format(
    prefix="ClickHouseProfileEvents",
    name="event",
    help="description",
    kind="counter",
    table="system.events",
)
# The embedded engine has no system.asynchronous_metrics: the figures a dashboard and an alert ask
# for are asked here, by the same names and with the same meaning.
BACKGROUND = _LINES.format(
    prefix="ClickHouseAsyncMetrics",
    name="metric",
    help="description",
    kind="gauge",
    table="""(
  SELECT 'Uptime' AS metric, 'Seconds since the start.' AS description, toFloat64(uptime()) AS value
  UNION ALL SELECT 'NumberOfDatabases', 'Databases.', toFloat64(count()) FROM system.databases
  UNION ALL SELECT 'NumberOfTables', 'Tables.', toFloat64(count()) FROM system.tables
    WHERE database NOT IN ('system', 'information_schema', 'INFORMATION_SCHEMA')
  UNION ALL SELECT 'TotalPartsOfMergeTreeTables', 'Active parts.', toFloat64(count())
    FROM system.parts WHERE active
  UNION ALL SELECT 'TotalRowsOfMergeTreeTables', 'Rows.', toFloat64(sum(rows))
    FROM system.parts WHERE active
  UNION ALL SELECT 'TotalBytesOfMergeTreeTables', 'Compressed bytes.',
    toFloat64(sum(bytes_on_disk)) FROM system.parts WHERE active
  UNION ALL SELECT 'MaxPartCountForPartition', 'Most active parts of one partition.',
    toFloat64(max(parts)) FROM (SELECT count() AS parts FROM system.parts WHERE active
      GROUP BY database, table, partition_id)
  UNION ALL SELECT concat('DiskTotal_', name), 'Bytes of the disk.', toFloat64(total_space)
    FROM system.disks
  UNION ALL SELECT concat('DiskAvailable_', name), 'Free bytes of the disk.',
    toFloat64(free_space) FROM system.disks
  UNION ALL SELECT concat('DiskUsed_', name), 'Used bytes of the disk.',
    toFloat64(total_space - free_space) FROM system.disks
)""",
)
STATEMENTS = (GAUGES, COUNTERS, BACKGROUND)
