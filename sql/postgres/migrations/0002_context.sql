-- Where an event that its client named was applied first, by pipeline: a retry is applied once.
CREATE TABLE applied_events (
    pipeline text NOT NULL,
    tenant text NOT NULL,
    event_id text NOT NULL,
    epoch text NOT NULL,
    "partition" integer NOT NULL,
    "offset" bigint NOT NULL,
    request text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (pipeline, tenant, event_id)
);

CREATE INDEX applied_events_by_age ON applied_events (applied_at);

-- The compressed context of a conversation up to a position; JSON as bytes, since texts may hold
-- characters that PostgreSQL's own JSON refuses.
CREATE TABLE snapshots (
    tenant text NOT NULL,
    conversation_id text NOT NULL,
    epoch text NOT NULL,
    "partition" integer NOT NULL,
    upto bigint NOT NULL,
    event_count bigint NOT NULL,
    active_at bigint NOT NULL,
    stats bytea NOT NULL,
    context bytea NOT NULL,
    made_at bigint NOT NULL,
    PRIMARY KEY (tenant, conversation_id)
);

-- What each compression of a conversation kept, as measured; times are microseconds since 1970 UTC.
CREATE TABLE compressions (
    tenant text NOT NULL,
    conversation_id text NOT NULL,
    ingested_at bigint NOT NULL,
    event_id text NOT NULL,
    occurred_at bigint NOT NULL,
    strategy text NOT NULL,
    tokens_max bigint NOT NULL,
    original_messages bigint NOT NULL,
    compressed_messages bigint NOT NULL,
    original_tokens bigint NOT NULL,
    compressed_tokens bigint NOT NULL,
    pins_kept bigint NOT NULL,
    survival jsonb NOT NULL,
    quality_score double precision NOT NULL,
    took_us bigint NOT NULL,
    model text NOT NULL,
    PRIMARY KEY (tenant, conversation_id, ingested_at, event_id)
);

-- `snapped_at` and `snapped_events` are the snapshot's `active_at` and `event_count`: they are here
-- so that an index holds just the conversations whose snapshot is behind.
ALTER TABLE conversations
    DROP COLUMN recent_ids,
    ADD COLUMN event_count bigint NOT NULL DEFAULT 0,
    ADD COLUMN changes bigint NOT NULL DEFAULT 0,
    ADD COLUMN snapped_at bigint NOT NULL DEFAULT 0,
    ADD COLUMN snapped_events bigint NOT NULL DEFAULT 0;

-- Rows made before events were counted: their messages are the events that are known of.
UPDATE conversations SET event_count = message_count;

CREATE INDEX conversations_by_activity ON conversations (tenant, last_at DESC, conversation_id);

CREATE INDEX conversations_gone_idle ON conversations (last_at) WHERE last_at > snapped_at;

CREATE INDEX conversations_grown ON conversations (last_at)
WHERE event_count - snapped_events >= 500;
