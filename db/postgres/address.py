"""Where a collection on a server is: `postgresql://user@host/database?schema=name`."""

import os
from dataclasses import dataclass

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from db.errors import CollectionError

# Tables with names as general as `photo` go into a schema of their own, not among those of others.
DEFAULT_SCHEMA = "densecap_search"
# Where readers go instead: a replica of the server.
READ_VARIABLE = "DENSECAP_SEARCH_READ_URL"

LONGEST_NAME = 63  # bytes, of PostgreSQL

_DRIVERS = ("postgresql", "postgres", "postgresql+psycopg")


@dataclass(frozen=True)
class Address:
    """A schema of a database on a server."""

    url: URL  # without the schema; what is not in it, libpq takes from its own variables and from ~/.pgpass
    schema: str

    @classmethod
    def parse(cls, location: str) -> "Address":
        """The address that a URL names. All of its parameters but `schema` are libpq's (sslmode, hosts to try, ...).

        Raises:
            CollectionError: it is none, or of another kind of server.
        """
        try:
            url = make_url(location)
        except (ArgumentError, ValueError):
            scheme = location.partition(":")[0]  # not the whole: there may be a password in it
            raise CollectionError(
                f"The URL {scheme}://... cannot be read: it is postgresql://user@host/database?schema=name."
            ) from None
        if url.drivername not in _DRIVERS:
            raise CollectionError(
                f"A collection can be on a PostgreSQL server (postgresql://...), not on {url.drivername}://...: "
                "name such a server, or a folder."
            )
        schema = url.query.get("schema", DEFAULT_SCHEMA)
        if not isinstance(schema, str) or not schema or schema.startswith("pg_") or len(schema.encode()) > LONGEST_NAME:
            raise CollectionError(f"{schema!r} cannot be the name of a schema: give another one, `?schema=photos`.")
        url = url.set(drivername="postgresql+psycopg").difference_update_query(["schema"])
        return cls(url, schema)

    def for_readers(self) -> "Address":
        """Where to read it: the replica that DENSECAP_SEARCH_READ_URL names, if it names one."""
        replica = os.environ.get(READ_VARIABLE)
        if not replica:
            return self
        address = Address.parse(replica)
        named = "schema" in make_url(replica).query
        return address if named else Address(address.url, self.schema)

    @property
    def user(self) -> str:
        return self.url.username or os.environ.get("PGUSER") or "the user"

    def __str__(self) -> str:
        """For people: without the password, and as `--collection` takes it."""
        shown = self.url.set(drivername="postgresql")._replace(password=None)
        if "password" in shown.query:
            shown = shown.difference_update_query(["password"])
        if self.schema != DEFAULT_SCHEMA:
            shown = shown.update_query_dict({"schema": self.schema})
        return shown.render_as_string()
