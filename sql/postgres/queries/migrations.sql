-- migrations_create --
-- The list of migrations that ran.
CREATE TABLE IF NOT EXISTS migrations (
    version integer PRIMARY KEY,
    name text NOT NULL,
    digest text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
);

-- migrations_lock --
-- One migrator at a time, until the end of its transaction.
SELECT pg_advisory_xact_lock(7061707);

-- migrations_applied --
-- Every migration that ran, in order.
SELECT version, digest FROM migrations ORDER BY version;

-- migration_record --
-- Note that a migration ran.
INSERT INTO migrations (version, name, digest) VALUES (%(version)s, %(name)s, %(digest)s);
