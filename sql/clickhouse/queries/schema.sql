-- schema_tables --
-- Every table with its engine and its columns, each as it would be written.
SELECT
    table,
    name,
    arrayStringConcat(
        arrayFilter(word -> word != '', [type, default_kind, default_expression, compression_codec]),
        ' '
    )
FROM system.columns
WHERE database = currentDatabase()
UNION ALL
SELECT name, 'ENGINE', if(engine_full = '', concat(engine, ' AS ', as_select), engine_full)
FROM system.tables
WHERE database = currentDatabase()
ORDER BY 1, 2;

-- schema_indexes --
-- Every index by which parts of a table are skipped.
SELECT
    concat(table, '.', name),
    concat(expr, ' TYPE ', type_full, ' GRANULARITY ', toString(granularity))
FROM system.data_skipping_indices
WHERE database = currentDatabase()
ORDER BY 1;
