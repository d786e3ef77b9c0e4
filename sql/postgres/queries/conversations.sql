-- conversation_get --
-- The state of one conversation.
SELECT * FROM conversations WHERE tenant = %(tenant)s AND conversation_id = %(conversation_id)s;

-- conversation_standing --
-- One conversation with how far its partition was folded and copied, as of one moment.
WITH marks AS (
    SELECT DISTINCT ON (pipeline) pipeline, epoch, next
    FROM watermarks
    WHERE pipeline IN (%(states)s, %(events)s)
        AND topic = %(topic)s
        AND "partition" = %(partition)s
    ORDER BY pipeline, updated_at DESC
)
SELECT c.*,
    %(partition)s::integer AS asked_partition,
    s.epoch AS states_epoch,
    s.next AS states_next,
    e.epoch AS events_epoch,
    e.next AS events_next
FROM (SELECT 1) AS one
LEFT JOIN conversations AS c
    ON c.tenant = %(tenant)s AND c.conversation_id = %(conversation_id)s
LEFT JOIN marks AS s ON s.pipeline = %(states)s
LEFT JOIN marks AS e ON e.pipeline = %(events)s;

-- conversations_load --
-- The states a batch of events changes.
SELECT c.*
FROM conversations AS c
JOIN unnest(%(tenants)s::text[], %(ids)s::text[]) AS wanted (tenant, conversation_id)
    ON c.tenant = wanted.tenant AND c.conversation_id = wanted.conversation_id;

-- conversations_listed --
-- One page of a tenant's conversations, the latest active first, and how many there are in all.
WITH matching AS NOT MATERIALIZED (
    SELECT *
    FROM conversations
    WHERE tenant = %(tenant)s
        AND (%(user_id)s::text = '' OR user_id = %(user_id)s)
        AND (%(text)s::text = '' OR strpos(lower(title), lower(%(text)s)) > 0)
)
SELECT one.total, page.*
FROM (SELECT count(*) AS total FROM matching) AS one
LEFT JOIN LATERAL (
    SELECT *
    FROM matching
    ORDER BY last_at DESC, conversation_id
    OFFSET %(start)s
    LIMIT %(count)s::bigint
) AS page ON true;

-- conversations_save --
-- The states after a batch of events; how far their snapshots are is somebody else's.
INSERT INTO conversations (
    tenant,
    conversation_id,
    user_id,
    session_id,
    title,
    metadata,
    message_count,
    tokens,
    created_at,
    last_at,
    event_count,
    changes,
    outcome,
    completed_at,
    epoch,
    "partition",
    first_offset,
    last_offset
)
SELECT
    tenant,
    conversation_id,
    user_id,
    session_id,
    title,
    metadata,
    message_count,
    tokens,
    created_at,
    last_at,
    event_count,
    changes,
    outcome,
    completed_at,
    epoch,
    "partition",
    first_offset,
    last_offset
FROM jsonb_populate_recordset(NULL::conversations, %(states)s::jsonb)
ON CONFLICT (tenant, conversation_id) DO UPDATE
SET user_id = excluded.user_id,
    session_id = excluded.session_id,
    title = excluded.title,
    metadata = excluded.metadata,
    message_count = excluded.message_count,
    tokens = excluded.tokens,
    created_at = excluded.created_at,
    last_at = excluded.last_at,
    event_count = excluded.event_count,
    changes = excluded.changes,
    outcome = excluded.outcome,
    completed_at = excluded.completed_at,
    epoch = excluded.epoch,
    "partition" = excluded."partition",
    first_offset = excluded.first_offset,
    last_offset = excluded.last_offset;
