-- The warm copy of the conversations topic: what a replay reads, in the order it reads it.
-- Blocks inserted twice under one token are kept once: see non_replicated_deduplication_window.
CREATE TABLE IF NOT EXISTS conversation_events (
    tenant String,
    conversation_id String,
    epoch LowCardinality(String),
    `partition` UInt16,
    `offset` UInt64 CODEC(Delta, ZSTD(1)),
    event_id String,
    type LowCardinality(String),
    ingested_us Int64 CODEC(Delta, ZSTD(1)),
    ingested_at DateTime64(6, 'UTC') MATERIALIZED fromUnixTimestamp64Micro(ingested_us),
    value String CODEC(ZSTD(1)),
    INDEX by_event event_id TYPE bloom_filter GRANULARITY 4
)
ENGINE = MergeTree
PARTITION BY toYYYYMM(ingested_at)
ORDER BY (tenant, conversation_id, epoch, `partition`, `offset`)
TTL toDateTime(ingested_at) + INTERVAL 30 DAY
SETTINGS non_replicated_deduplication_window = 10000;
