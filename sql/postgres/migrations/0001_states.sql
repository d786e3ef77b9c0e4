-- Positions live with the effect: the next offset of each pipeline and partition, fenced by owner.
CREATE TABLE watermarks (
    pipeline text NOT NULL,
    topic text NOT NULL,
    epoch text NOT NULL,
    "partition" integer NOT NULL,
    next bigint NOT NULL,
    generation bigint NOT NULL,
    updated_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (pipeline, topic, epoch, "partition")
);

-- The range that is being inserted into ClickHouse: at most one of each pipeline and partition.
CREATE TABLE pending_ranges (
    pipeline text NOT NULL,
    topic text NOT NULL,
    epoch text NOT NULL,
    "partition" integer NOT NULL,
    first bigint NOT NULL,
    "end" bigint NOT NULL CHECK ("end" > first),
    generation bigint NOT NULL,
    started_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (pipeline, topic, epoch, "partition")
);

-- The fields of the state that events fold into; times are microseconds since 1970 UTC.
CREATE TABLE conversations (
    tenant text NOT NULL,
    conversation_id text NOT NULL,
    user_id text NOT NULL,
    session_id text NOT NULL,
    title text NOT NULL,
    metadata jsonb NOT NULL,
    message_count bigint NOT NULL,
    tokens bigint NOT NULL,
    created_at bigint NOT NULL,
    last_at bigint NOT NULL,
    outcome text,
    completed_at bigint,
    epoch text NOT NULL,
    "partition" integer NOT NULL,
    first_offset bigint NOT NULL,
    last_offset bigint NOT NULL,
    recent_ids text[] NOT NULL,
    PRIMARY KEY (tenant, conversation_id)
);

CREATE INDEX conversations_by_user ON conversations (tenant, user_id, last_at DESC);

-- Keys are known by the SHA-256 of what the caller holds; the key itself is stored nowhere.
CREATE TABLE api_keys (
    tenant text NOT NULL,
    key_id text NOT NULL,
    digest text NOT NULL UNIQUE,
    scopes text[] NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    revoked_at timestamptz,
    PRIMARY KEY (tenant, key_id)
);
