"""Photo files -> upright images."""
