"""Inspection, repair, compaction, and the move to another checkpoint."""
