"""Collections while everything is killed again and again."""
