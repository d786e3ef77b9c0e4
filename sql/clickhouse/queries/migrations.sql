-- database_create --
-- The database of the platform.
CREATE DATABASE IF NOT EXISTS {database:Identifier};

-- migrations_create --
-- The list of migrations that ran.
CREATE TABLE IF NOT EXISTS migrations (
    version UInt32,
    name String,
    digest String,
    applied_at DateTime64(6, 'UTC') DEFAULT now64(6)
)
ENGINE = ReplacingMergeTree
ORDER BY version;

-- migrations_applied --
-- Every migration that ran, in order.
SELECT version, digest FROM migrations FINAL ORDER BY version;

-- migration_record --
-- Note that a migration ran.
INSERT INTO migrations (version, name, digest)
SELECT {version:UInt32}, {name:String}, {digest:String};
