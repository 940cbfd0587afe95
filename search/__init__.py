"""Words in, ranked photographs and the regions that answer out: the command `search` and `search.searcher`."""
