-- snapshot_get --
-- The latest snapshot of one conversation.
SELECT * FROM snapshots WHERE tenant = %(tenant)s AND conversation_id = %(conversation_id)s;

-- snapshots_due --
-- Conversations whose snapshot is behind: those gone quiet that the warm copy has wholly, and those
-- that have grown of which it has something new.
WITH marks AS (
    SELECT epoch, "partition", next
    FROM watermarks
    WHERE pipeline = %(pipeline)s AND topic = %(topic)s
),
quiet AS (
    SELECT c.*, m.next
    FROM conversations AS c
    JOIN marks AS m ON m.epoch = c.epoch AND m."partition" = c."partition"
    WHERE c.last_at > c.snapped_at
        AND c.last_at < %(idle_since)s
        AND c.event_count - c.snapped_events < 500
        AND m.next > c.last_offset
    ORDER BY c.last_at
    LIMIT %(limit)s
),
grown AS (
    SELECT c.*, m.next
    FROM conversations AS c
    JOIN marks AS m ON m.epoch = c.epoch AND m."partition" = c."partition"
    LEFT JOIN snapshots AS s
        ON s.tenant = c.tenant AND s.conversation_id = c.conversation_id AND s.epoch = c.epoch
    WHERE c.event_count - c.snapped_events >= 500 AND m.next > coalesce(s.upto, c.first_offset)
    ORDER BY c.last_at
    LIMIT %(limit)s
)
SELECT tenant,
    conversation_id,
    last_at,
    event_count,
    epoch,
    "partition",
    next,
    next > last_offset AS whole
FROM (SELECT * FROM grown UNION ALL SELECT * FROM quiet) AS due
ORDER BY event_count - snapped_events >= 500 DESC, last_at
LIMIT %(limit)s;

-- snapshot_save --
-- Keep a snapshot that reaches further than the one there.
INSERT INTO snapshots AS s (
    tenant,
    conversation_id,
    epoch,
    "partition",
    upto,
    event_count,
    active_at,
    stats,
    context,
    made_at
)
VALUES (
    %(tenant)s,
    %(conversation_id)s,
    %(epoch)s,
    %(partition)s,
    %(upto)s,
    %(event_count)s,
    %(active_at)s,
    %(stats)s,
    %(context)s,
    %(made_at)s
)
ON CONFLICT (tenant, conversation_id) DO UPDATE
SET epoch = excluded.epoch,
    "partition" = excluded."partition",
    upto = excluded.upto,
    event_count = excluded.event_count,
    active_at = excluded.active_at,
    stats = excluded.stats,
    context = excluded.context,
    made_at = excluded.made_at
WHERE s.epoch <> excluded.epoch OR s.upto < excluded.upto;

-- snapshot_passed --
-- Note how far the snapshot of a conversation is, or that none could be made of what there is.
UPDATE conversations
SET snapped_at = greatest(snapped_at, %(active_at)s),
    snapped_events = greatest(snapped_events, %(event_count)s)
WHERE tenant = %(tenant)s AND conversation_id = %(conversation_id)s;
