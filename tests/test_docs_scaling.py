"""docs/scaling.md says what is in the tables of a server."""

import re
from pathlib import Path

from sqlalchemy import text

from db.collection import open_collection
from db.postgres.migrations import MIGRATIONS
from helpers.db_photos import MODEL
from helpers.db_server import new_url

DOCUMENT = (Path(__file__).parent.parent / "docs" / "scaling.md").read_text(encoding="utf-8")


def test_every_table_and_column_is_documented():
    with open_collection(new_url(), write=True, create=True, model=MODEL) as collection:
        columns = collection.server.read(
            lambda session: session.execute(
                text(
                    "SELECT table_name, column_name FROM information_schema.columns "
                    "WHERE table_schema = current_schema() AND table_name !~ '_[0-9]{6}$'"
                )
            ).all()
        )
    there: dict[str, set[str]] = {}
    for table, column in columns:
        there.setdefault(table, set()).add(column)
    documented: dict[str, set[str]] = {}
    table = ""
    for line in re.findall(r"^\| (?:\*\*\w+\*\*)? ?\|.*", DOCUMENT.partition("## The tables")[2], flags=re.MULTILINE):
        if heading := re.match(r"\| \*\*(\w+)\*\*", line):
            table = heading[1]
        documented.setdefault(table, set()).update(re.findall(r"`(\w+)`", line.split("|")[2]))
    assert documented == there
    assert f"of these tables: {len(MIGRATIONS)}" in DOCUMENT


def test_a_question_in_sql_as_the_document_has_it():
    (query,) = re.findall(r"```sql\n(.*?);\n```", DOCUMENT, flags=re.DOTALL)
    with open_collection(new_url(), write=True, create=True, model=MODEL) as collection:
        assert collection.server.read(lambda session: session.execute(text(query)).all()) == []
