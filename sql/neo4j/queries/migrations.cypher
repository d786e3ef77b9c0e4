// migrations_create --
// The list of migrations that ran.
CREATE CONSTRAINT migration_version IF NOT EXISTS FOR (m:Migration) REQUIRE m.version IS UNIQUE;

// migrations_applied --
// Every migration that ran, in order.
MATCH (m:Migration) RETURN m.version AS version, m.digest AS digest ORDER BY version;

// migration_record --
// Note that a migration ran.
MERGE (m:Migration {version: $version})
ON CREATE SET m.name = $name, m.digest = $digest, m.applied_at = datetime();
