-- schema_tables --
-- Every table with its columns and constraints, each as it would be written.
SELECT
    tables.relname AS place,
    columns.attname::text AS part,
    format_type(columns.atttypid, columns.atttypmod)
    || CASE WHEN columns.attnotnull THEN ' NOT NULL' ELSE '' END
    || coalesce(' DEFAULT ' || pg_get_expr(defaults.adbin, defaults.adrelid), '') AS definition
FROM pg_class AS tables
JOIN pg_attribute AS columns
    ON columns.attrelid = tables.oid AND columns.attnum > 0 AND NOT columns.attisdropped
LEFT JOIN pg_attrdef AS defaults
    ON defaults.adrelid = tables.oid AND defaults.adnum = columns.attnum
WHERE tables.relnamespace = 'public'::regnamespace AND tables.relkind IN ('r', 'p', 'v', 'm')
UNION ALL
SELECT
    conrelid::regclass::text,
    'CONSTRAINT ' || conname,
    pg_get_constraintdef(oid)
FROM pg_constraint
WHERE connamespace = 'public'::regnamespace AND conrelid <> 0
ORDER BY place, part;

-- schema_indexes --
-- Every index as it would be written, and whether it is one that queries use.
SELECT
    indexes.relname AS name,
    pg_get_indexdef(indexes.oid)
    || CASE WHEN pg_index.indisvalid THEN '' ELSE ' INVALID' END AS definition
FROM pg_index
JOIN pg_class AS indexes ON indexes.oid = pg_index.indexrelid
WHERE indexes.relnamespace = 'public'::regnamespace
ORDER BY name;
