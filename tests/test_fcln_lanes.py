"""Lanes: work side by side, one thread each."""

import threading

import pytest
import torch

from fcln.lanes import Lanes


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def test_each_lane_computes_in_one_thread_and_nobody_else_does(two_threads):
    lanes = Lanes(2)
    threads: list[int] = []
    lanes.run(lambda number: threads.append(torch.get_num_threads()), [(n,) for n in range(8)])
    assert threads == [1] * 8
    assert torch.get_num_threads() == 2
    elsewhere: list[int] = []
    other = threading.Thread(target=lambda: elsewhere.append(torch.get_num_threads()))
    other.start()
    other.join()
    assert elsewhere == [2]


def test_pieces_go_side_by_side(two_threads):
    met = threading.Barrier(2, timeout=300)  # broken if one waits for the other
    Lanes(2).run(lambda number: met.wait() and None, [(1,), (2,)])


def test_one_piece_alone_has_all_threads(two_threads):
    found: list[tuple[int, str]] = []
    Lanes(2).run(lambda: found.append((torch.get_num_threads(), threading.current_thread().name)), [()])
    assert found == [(2, threading.current_thread().name)]


def test_all_pieces_run_where_there_is_one_lane():
    found: list[int] = []
    Lanes(1).run(found.append, [(3,), (1,), (2,)])
    assert found == [3, 1, 2]
    Lanes(1).run(found.append, [])


def test_what_a_piece_raises_is_raised_and_the_lanes_go_on(two_threads):
    lanes = Lanes(2)
    with pytest.raises(ZeroDivisionError):
        lanes.run(lambda number: 1 // number, [(n,) for n in (1, 0, 1, 1)])
    found: list[int] = []
    lanes.run(found.append, [(1,), (2,)])
    assert sorted(found) == [1, 2]
