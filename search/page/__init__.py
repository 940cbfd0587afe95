"""`search serve`: the collection in a browser, and the same as an HTTP API.

Not to be imported by anything but the command: FastAPI alone takes a second.
"""
