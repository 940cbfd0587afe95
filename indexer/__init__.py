"""Folders of photographs into a collection: walk, decode, describe, commit (`indexer build photos/`)."""
