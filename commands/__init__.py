"""What the command lines of `indexer` and `search` share: options, one error wrapper, text for terminals."""
