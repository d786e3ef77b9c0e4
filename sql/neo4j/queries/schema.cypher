// schema_indexes --
// Every index but those of constraints and those the server has by itself.
SHOW INDEXES
YIELD name, type, entityType, labelsOrTypes, properties, options, state, owningConstraint
WHERE type <> 'LOOKUP' AND owningConstraint IS NULL
RETURN name, type, entityType AS entity, labelsOrTypes AS labels, properties, options, state
ORDER BY name;

// schema_constraints --
// Every constraint.
SHOW CONSTRAINTS
YIELD name, type, entityType, labelsOrTypes, properties
RETURN name, type, entityType AS entity, labelsOrTypes AS labels, properties
ORDER BY name;
