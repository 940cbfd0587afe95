"""Which photographs there are, and what is new, changed, moved or gone."""
