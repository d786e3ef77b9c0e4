-- conversation_events_before --
-- Every event of a conversation below a position, in order; earlier incarnations count whole.
SELECT epoch, `partition`, `offset`, value
FROM conversation_events
WHERE tenant = {tenant:String}
    AND conversation_id = {conversation_id:String}
    AND (epoch != {epoch:String} OR `offset` < {offset:UInt64})
ORDER BY tenant, conversation_id, epoch, `partition`, `offset`;
