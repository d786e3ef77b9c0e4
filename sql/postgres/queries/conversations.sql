-- conversation_get --
-- The state of one conversation.
SELECT * FROM conversations WHERE tenant = %(tenant)s AND conversation_id = %(conversation_id)s;

-- conversations_load --
-- The states a batch of events changes.
SELECT c.*
FROM conversations AS c
JOIN unnest(%(tenants)s::text[], %(ids)s::text[]) AS wanted (tenant, conversation_id)
    ON c.tenant = wanted.tenant AND c.conversation_id = wanted.conversation_id;

-- conversations_save --
-- The states after a batch of events.
INSERT INTO conversations
SELECT * FROM jsonb_populate_recordset(NULL::conversations, %(states)s::jsonb)
ON CONFLICT (tenant, conversation_id) DO UPDATE
SET user_id = excluded.user_id,
    session_id = excluded.session_id,
    title = excluded.title,
    metadata = excluded.metadata,
    message_count = excluded.message_count,
    tokens = excluded.tokens,
    created_at = excluded.created_at,
    last_at = excluded.last_at,
    outcome = excluded.outcome,
    completed_at = excluded.completed_at,
    epoch = excluded.epoch,
    "partition" = excluded."partition",
    first_offset = excluded.first_offset,
    last_offset = excluded.last_offset,
    recent_ids = excluded.recent_ids;
