-- compressions_save --
-- What compressions of a batch kept.
INSERT INTO compressions
SELECT * FROM jsonb_populate_recordset(NULL::compressions, %(events)s::jsonb)
ON CONFLICT (tenant, conversation_id, ingested_at, event_id) DO NOTHING;

-- compressions_latest --
-- The latest compressions of one conversation, newest first.
SELECT *
FROM compressions
WHERE tenant = %(tenant)s AND conversation_id = %(conversation_id)s
ORDER BY ingested_at DESC, event_id DESC
LIMIT %(limit)s;

-- compression_figures --
-- Every strategy a tenant used, averaged over its compressions.
SELECT strategy,
    count(*) AS count,
    avg(coalesce(compressed_tokens::double precision / nullif(original_tokens, 0), 1)) AS ratio_mean,
    avg(quality_score) AS quality_mean,
    avg(took_us / 1000.0)::double precision AS took_ms_mean,
    percentile_cont(0.95) WITHIN GROUP (ORDER BY took_us / 1000.0) AS took_ms_p95
FROM compressions
WHERE tenant = %(tenant)s
GROUP BY strategy
ORDER BY strategy;
