-- api_key_find --
-- Who holds the key with that hash, unless it was revoked.
SELECT key_id, tenant, scopes FROM api_keys WHERE digest = %(digest)s AND revoked_at IS NULL;

-- api_key_put --
-- Make a key known; changed scopes or hash replace the old ones.
INSERT INTO api_keys (tenant, key_id, digest, scopes)
VALUES (%(tenant)s, %(key_id)s, %(digest)s, %(scopes)s)
ON CONFLICT (tenant, key_id) DO UPDATE
SET digest = excluded.digest, scopes = excluded.scopes
WHERE api_keys.digest <> excluded.digest OR api_keys.scopes <> excluded.scopes;

-- api_keys_of --
-- A tenant's keys, the newest first; of all tenants where none is named.
SELECT tenant, key_id, scopes, created_at, revoked_at
FROM api_keys
WHERE %(tenant)s = '' OR tenant = %(tenant)s
ORDER BY created_at DESC, tenant, key_id;

-- api_key_revoke --
-- From now on the key opens nothing; revoked once, it stays so.
UPDATE api_keys SET revoked_at = now()
WHERE tenant = %(tenant)s AND key_id = %(key_id)s AND revoked_at IS NULL;
