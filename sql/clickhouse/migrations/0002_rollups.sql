-- What was said by hour, rolled up as the events arrive. An insert that is repeated under its token
-- is kept once here as well: the view hands the token on, and this table remembers it too.
CREATE TABLE IF NOT EXISTS conversation_hours (
    tenant String,
    hour DateTime('UTC') CODEC(Delta, ZSTD(1)),
    events SimpleAggregateFunction(sum, UInt64),
    messages SimpleAggregateFunction(sum, UInt64),
    tokens SimpleAggregateFunction(sum, UInt64),
    conversations AggregateFunction(uniq, String)
)
ENGINE = AggregatingMergeTree
ORDER BY (tenant, hour)
SETTINGS non_replicated_deduplication_window = 10000;

-- The events that are there already, once however often this runs. No worker inserts meanwhile
-- that has not begun before: they start after the migrations.
INSERT INTO conversation_hours
SELECT
    tenant,
    toStartOfHour(fromUnixTimestamp64Micro(ingested_us, 'UTC')) AS hour,
    count() AS events,
    countIf(type = 'conversation.message.added') AS messages,
    sumIf(JSONExtractUInt(value, 'message', 'tokens'), type = 'conversation.message.added') AS tokens,
    uniqState(conversation_id) AS conversations
FROM conversation_events
GROUP BY tenant, hour
SETTINGS insert_deduplication_token = '0002_rollups';

CREATE MATERIALIZED VIEW IF NOT EXISTS conversation_hours_view TO conversation_hours AS
SELECT
    tenant,
    toStartOfHour(fromUnixTimestamp64Micro(ingested_us, 'UTC')) AS hour,
    count() AS events,
    countIf(type = 'conversation.message.added') AS messages,
    sumIf(JSONExtractUInt(value, 'message', 'tokens'), type = 'conversation.message.added') AS tokens,
    uniqState(conversation_id) AS conversations
FROM conversation_events
GROUP BY tenant, hour;
