// Ids are unique within a tenant; community edition has composite uniqueness but no node keys.
CREATE CONSTRAINT entity_id IF NOT EXISTS FOR (e:Entity) REQUIRE (e.tenant, e.id) IS UNIQUE;

CREATE CONSTRAINT conversation_id IF NOT EXISTS
FOR (c:Conversation) REQUIRE (c.tenant, c.id) IS UNIQUE;

CREATE CONSTRAINT watermark_id IF NOT EXISTS
FOR (w:Watermark) REQUIRE (w.pipeline, w.topic, w.epoch, w.partition) IS UNIQUE;

CREATE INDEX entity_name IF NOT EXISTS FOR (e:Entity) ON (e.tenant, e.name);

CREATE INDEX entity_type IF NOT EXISTS FOR (e:Entity) ON (e.tenant, e.type);

CREATE FULLTEXT INDEX entity_text IF NOT EXISTS FOR (e:Entity) ON EACH [e.name, e.aliases];

CREATE VECTOR INDEX entity_vector IF NOT EXISTS FOR (e:Entity) ON (e.embedding)
OPTIONS {indexConfig: {`vector.dimensions`: 256, `vector.similarity_function`: 'cosine'}};
