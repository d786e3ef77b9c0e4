-- applied_record --
-- Note where named events are applied, unless they were before; in one order, so that two
-- workers never wait for each other in a circle. How many are noted now.
WITH noted AS (
    INSERT INTO applied_events (pipeline, tenant, event_id, epoch, "partition", "offset", request)
    SELECT %(pipeline)s, n.tenant, n.event_id, n.epoch, n."partition", n."offset", n.request
    FROM jsonb_to_recordset(%(names)s::jsonb) AS n (
        tenant text,
        event_id text,
        epoch text,
        "partition" integer,
        "offset" bigint,
        request text
    )
    ORDER BY n.tenant, n.event_id, n."partition", n."offset"
    ON CONFLICT (pipeline, tenant, event_id) DO NOTHING
    RETURNING 1
)
SELECT count(*) AS count FROM noted;

-- applied_firsts --
-- Where those named events were applied first.
SELECT a.tenant, a.event_id, a.epoch, a."partition", a."offset"
FROM applied_events AS a
JOIN (
    SELECT DISTINCT n.tenant, n.event_id
    FROM jsonb_to_recordset(%(names)s::jsonb) AS n (tenant text, event_id text)
) AS named ON a.tenant = named.tenant AND a.event_id = named.event_id
WHERE a.pipeline = %(pipeline)s;

-- applied_withdraw --
-- Forget named events that were noted where they are but refused by the store.
DELETE FROM applied_events AS a
USING jsonb_to_recordset(%(names)s::jsonb) AS n (
    tenant text, event_id text, epoch text, "partition" integer, "offset" bigint
)
WHERE a.pipeline = %(pipeline)s
    AND a.tenant = n.tenant
    AND a.event_id = n.event_id
    AND a.epoch = n.epoch
    AND a."partition" = n."partition"
    AND a."offset" = n."offset";

-- applied_find --
-- Which of a tenant's events a pipeline applied, and for which request.
SELECT event_id, "partition", "offset", request
FROM applied_events
WHERE pipeline = %(pipeline)s AND tenant = %(tenant)s AND event_id = ANY(%(ids)s::text[]);

-- applied_forget --
-- Drop some of the names that nobody retries any more.
DELETE FROM applied_events
WHERE ctid IN (
    SELECT ctid
    FROM applied_events
    WHERE applied_at < now() - make_interval(days => %(days)s)
    ORDER BY applied_at
    LIMIT %(limit)s
);
