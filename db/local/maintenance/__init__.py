"""What keeps a folder in order, as functions over an open `LocalCollection`."""
