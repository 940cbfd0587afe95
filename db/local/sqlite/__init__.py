"""photos.db: connection and transactions, schema, reading, writing, copies."""
