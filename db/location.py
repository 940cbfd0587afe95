"""Where the collection is when nobody says."""

import os
from pathlib import Path

import platformdirs

ENVIRONMENT_VARIABLE = "DENSECAP_SEARCH_COLLECTION"


def default_collection() -> Path:
    """The folder in `DENSECAP_SEARCH_COLLECTION`, else `collection` in the user's data folder. Creates nothing."""
    named = os.environ.get(ENVIRONMENT_VARIABLE)
    if named:
        return Path(named).expanduser()
    return Path(platformdirs.user_data_dir("densecap-search", appauthor=False)) / "collection"
