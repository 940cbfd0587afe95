"""Photographs are decoded, described and committed."""
