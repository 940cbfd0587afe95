"""`scripts.benchmark.server` in small."""

import json

from click.testing import CliRunner

from db.postgres import indexes
from helpers.db_server import new_url
from scripts.benchmark import server as benchmark


def test_a_small_run(monkeypatch):
    monkeypatch.setattr(benchmark, "QUESTIONS", 5)
    monkeypatch.setattr(indexes, "SCANNED_REGIONS", 5000)
    result = CliRunner().invoke(benchmark.main, ["--regions", "10000", "--collection", new_url(), "--json"])
    assert result.exit_code == 0, result.output
    measured = json.loads(result.stdout)
    assert (measured["regions"], measured["lists"]) == (10000, 10000 // indexes.REGIONS_PER_LIST)
    assert measured["probes"] >= 1 and measured["recall_at_10"] > 0.9
    assert [asked["phrases"] for asked in measured["asked"]] == [1, 4]
    assert all(asked["as_exact"] > 0.9 and asked["candidates_ms"] > 0 for asked in measured["asked"])
    assert 500 < measured["table_bytes"] / 10000 < 2000 and measured["code_bytes"] / 10000 > 1024
    assert 8 * 512 / 50 < measured["summary_bytes"] / 10000 < 200
