-- watermarks_claim --
-- Take partitions over: from now on every save of an earlier owner finds no row.
INSERT INTO watermarks (pipeline, topic, epoch, "partition", next, generation)
SELECT %(pipeline)s, %(topic)s, %(epoch)s, wanted, 0, 1
FROM unnest(%(partitions)s::integer[]) AS wanted
ON CONFLICT (pipeline, topic, epoch, "partition") DO UPDATE
SET generation = watermarks.generation + 1, updated_at = now()
RETURNING "partition", next, generation;

-- watermarks_advance --
-- The fence: move each partition past its range if it stands at the start and is still ours.
UPDATE watermarks AS w
SET next = r."end", generation = r.generation, updated_at = now()
FROM jsonb_to_recordset(%(ranges)s::jsonb) AS r (
    topic text, epoch text, "partition" integer, first bigint, "end" bigint, generation bigint
)
WHERE w.pipeline = %(pipeline)s
    AND w.topic = r.topic
    AND w.epoch = r.epoch
    AND w."partition" = r."partition"
    AND w.next = r.first
    AND w.generation <= r.generation
RETURNING w."partition";

-- watermark_current --
-- Where a pipeline stands in a partition of the topic's latest incarnation.
SELECT epoch, "partition", next
FROM watermarks
WHERE pipeline = %(pipeline)s AND topic = %(topic)s AND "partition" = %(partition)s
ORDER BY updated_at DESC
LIMIT 1;

-- pending_of --
-- The ranges whose insert may or may not have happened.
SELECT topic, epoch, "partition", first, "end"
FROM pending_ranges
WHERE pipeline = %(pipeline)s
    AND topic = %(topic)s
    AND epoch = %(epoch)s
    AND "partition" = ANY(%(partitions)s);

-- pending_record --
-- Compare and set: note the ranges about to be inserted, where the fence lets us.
WITH owned AS (
    SELECT w.pipeline, w.topic, w.epoch, w."partition", r.first, r."end", r.generation
    FROM watermarks AS w
    JOIN jsonb_to_recordset(%(ranges)s::jsonb) AS r (
        topic text, epoch text, "partition" integer, first bigint, "end" bigint, generation bigint
    ) ON w.topic = r.topic AND w.epoch = r.epoch AND w."partition" = r."partition"
    WHERE w.pipeline = %(pipeline)s AND w.next = r.first AND w.generation <= r.generation
    FOR UPDATE OF w
)
INSERT INTO pending_ranges (pipeline, topic, epoch, "partition", first, "end", generation)
SELECT * FROM owned
ON CONFLICT (pipeline, topic, epoch, "partition") DO UPDATE
SET generation = excluded.generation, started_at = now()
WHERE pending_ranges.first = excluded.first AND pending_ranges."end" = excluded."end"
RETURNING "partition";

-- pending_clear --
-- Forget ranges whose insert is known to have happened.
DELETE FROM pending_ranges AS p
USING jsonb_to_recordset(%(ranges)s::jsonb) AS r (
    topic text, epoch text, "partition" integer, first bigint
)
WHERE p.pipeline = %(pipeline)s
    AND p.topic = r.topic
    AND p.epoch = r.epoch
    AND p."partition" = r."partition"
    AND p.first = r.first;
