"""Helper processes: they die, hang and lie, and the next question is answered all the same."""

import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from search.page.errors import WorkerError
from search.page.worker import Worker, WorkerPool

MODULE = "tests.helpers.odd_worker"
PATIENCE = 300  # seconds, for computers that are busy


@pytest.fixture
def worker():
    worker = Worker(MODULE, seconds=PATIENCE)
    yield worker
    worker.close()


def test_it_starts_when_it_is_asked_and_stays(worker):
    assert worker.process_id is None
    fields, payload = worker.ask({"do": "echo"}, b"\x00abc" * 100_000)
    assert payload == b"cba\x00" * 100_000
    assert fields["process"] == worker.process_id
    assert worker.ask({"do": "echo"})[0]["process"] == worker.process_id


@pytest.mark.parametrize("oddity", ["die", "babble", "break off"])
def test_what_is_no_answer_is_an_error_and_another_process_goes_on(worker, oddity):
    first = worker.ask({"do": "echo"})[0]["process"]
    with pytest.raises(WorkerError, match="crashed"):
        worker.ask({"do": oddity})
    assert worker.ask({"do": "echo"})[0]["process"] != first


def test_one_that_takes_too_long_is_ended():
    worker = Worker(MODULE, seconds=1)
    try:
        with pytest.raises(WorkerError, match="longer than 1 seconds"):
            worker.ask({"do": "hang"})
        assert worker.process_id is None
    finally:
        worker.close()


def test_one_that_is_not_used_any_more_ends_and_starts_again():
    worker = Worker(MODULE, seconds=PATIENCE, idle_seconds=0.2)
    try:
        first = worker.ask({"do": "echo"})[0]["process"]
        deadline = time.monotonic() + PATIENCE
        while worker.process_id is not None:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert worker.ask({"do": "echo"})[0]["process"] != first
    finally:
        worker.close()


def test_closing_does_not_wait_for_what_hangs(tmp_path):
    worker = Worker(MODULE, seconds=3600)
    process = worker.ask({"do": "echo"})[0]["process"]
    failed = []

    def hang():
        try:
            worker.ask({"do": "hang", "mark": str(tmp_path / "mark")})
        except WorkerError as error:
            failed.append(error)

    thread = threading.Thread(target=hang)
    thread.start()
    while not (tmp_path / "mark").exists():
        time.sleep(0.01)
    worker.close()
    thread.join(PATIENCE)
    assert not thread.is_alive() and len(failed) == 1
    with pytest.raises(ProcessLookupError):
        os.kill(process, 0)
    worker.close()
    with pytest.raises(WorkerError, match="closed"):  # a question that comes too late starts no other process
        worker.ask({"do": "echo"})
    assert worker.process_id is None


def test_a_pool_works_side_by_side(tmp_path):
    pool = WorkerPool(2, MODULE, seconds=PATIENCE)
    question = {"do": "meet", "folder": str(tmp_path), "processes": 2}
    try:
        with ThreadPoolExecutor(2) as threads:
            answers = list(threads.map(lambda _: pool.ask(question, bytes(5_000_000)), range(2)))
        assert len({fields["process"] for fields, _ in answers}) == 2
    finally:
        pool.close()
