"""What a collection knows, in formats that other programs read: `indexer export`."""
