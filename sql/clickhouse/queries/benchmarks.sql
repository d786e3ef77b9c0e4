-- bench_events_count --
-- How many rows of events are visible.
SELECT count() FROM conversation_events;

-- bench_ready_create --
-- A table in the engine's memory, of the columns of the warm copy.
CREATE TABLE ready AS conversation_events ENGINE = Memory;

-- bench_ready_copy --
-- The rows in the engine's memory into the warm copy: the engine's own limit.
INSERT INTO conversation_events (
    tenant, conversation_id, epoch, `partition`, `offset`, event_id, type, ingested_us, value
)
SELECT
    tenant, conversation_id, epoch, `partition`, `offset`, event_id, type, ingested_us, value
FROM ready;

-- bench_events_crowd --
-- So many times the rows of a conversation more, as rows of other conversations.
INSERT INTO conversation_events (
    tenant, conversation_id, epoch, `partition`, `offset`, event_id, type, ingested_us, value
)
SELECT
    tenant,
    concat('crowd-', toString((`offset` * 31 + number) % 1000)),
    epoch,
    `partition`,
    `offset` + (number + 1) * 1000000,
    concat(event_id, '-', toString(number)),
    type,
    ingested_us,
    value
FROM conversation_events
CROSS JOIN numbers({times:UInt32}) AS more
WHERE conversation_id = {conversation_id:String} AND epoch = {epoch:String};

-- bench_event_values --
-- The bytes of a conversation's events in their order, and nothing else.
SELECT value
FROM conversation_events
WHERE tenant = {tenant:String} AND conversation_id = {conversation_id:String}
ORDER BY tenant, conversation_id, epoch, `partition`, `offset`;

-- bench_truncate --
-- Every row of a table away.
TRUNCATE TABLE {table:Identifier};

-- bench_database_drop --
-- A database of benchmarks away.
DROP DATABASE IF EXISTS {database:Identifier};
