"""The labelled photographs that the embedded weights learnt from: not part of the repository."""

import os
from pathlib import Path

# A folder with `train/`, `val/` and so on, as docs/training.md describes it; None: not named, or not there.
_NAMED = os.environ.get("DENSECAP_SEARCH_DATA_SET")
DATA_SET = Path(_NAMED) if _NAMED and Path(_NAMED).is_dir() else None
