-- conversation_events_before --
-- Every event of a conversation below a position, in order; earlier incarnations count whole.
SELECT epoch, `partition`, `offset`, value
FROM conversation_events
WHERE tenant = {tenant:String}
    AND conversation_id = {conversation_id:String}
    AND (epoch != {epoch:String} OR `offset` < {before:UInt64})
ORDER BY tenant, conversation_id, epoch, `partition`, `offset`;

-- conversation_events_between --
-- The events of a conversation in a range of one incarnation, in order.
SELECT epoch, `partition`, `offset`, value
FROM conversation_events
WHERE tenant = {tenant:String}
    AND conversation_id = {conversation_id:String}
    AND epoch = {epoch:String}
    AND `offset` >= {first:UInt64}
    AND `offset` < {before:UInt64}
ORDER BY tenant, conversation_id, epoch, `partition`, `offset`;

-- conversation_event_by_id --
-- One event by its id, found by the index of ids.
SELECT epoch, `partition`, `offset`, value
FROM conversation_events
WHERE tenant = {tenant:String} AND event_id = {event_id:String}
ORDER BY ingested_us, `offset`
LIMIT 1;

-- conversation_trends --
-- What was said by period, from the rollup by hour.
SELECT
    toInt64(intDiv(toUnixTimestamp(hour), {period_s:UInt32}) * {period_s:UInt32}) AS start_s,
    uniqMerge(conversations) AS conversations,
    sum(messages) AS messages,
    sum(tokens) AS tokens
FROM conversation_hours
WHERE tenant = {tenant:String} AND hour >= toDateTime({since_s:UInt32}, 'UTC')
GROUP BY start_s
ORDER BY start_s;
