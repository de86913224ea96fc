"""The board by itself: turns, limits, forgetting."""

from __future__ import annotations

import pytest

from newbie_ui.engine.jobs import JobBoard
from newbie_ui.errors import EngineError
from newbie_ui.request import Cancelled, Done, GenerateRequest, Queued

REQUEST = GenerateRequest(prompt="x")


def run_all(board):
    order = []
    while board.infos():
        job = board.take()
        order.append(job.client)
        board.end(job, Done(job.id, pictures=1))
    return order


def test_a_newcomer_waits_for_one_job_of_a_busy_client_only():
    board = JobBoard()
    for _ in range(10):
        board.add(REQUEST, "busy")
    board.add(REQUEST, "newcomer")
    assert run_all(board).index("newcomer") == 1


def test_five_clients_share_the_engine_evenly():
    board = JobBoard()
    for client in "abcde":
        for _ in range(4):
            board.add(REQUEST, client)
    order = run_all(board)
    assert [sorted(order[i : i + 5]) for i in range(0, 20, 5)] == [list("abcde")] * 4


def test_a_late_client_does_not_overtake_by_the_jobs_already_done():
    board = JobBoard()
    for _ in range(8):
        board.add(REQUEST, "a")
    for _ in range(4):
        job = board.take()
        board.end(job, Done(job.id))
    for _ in range(4):
        board.add(REQUEST, "b")
    assert run_all(board) == ["b", "a", "b", "a", "b", "a", "b", "a"]


def test_a_full_queue_and_a_full_share_are_refused_with_their_numbers():
    board = JobBoard(max_waiting=3, max_per_client=2)
    for _ in range(2):
        board.add(REQUEST, "a")
    with pytest.raises(EngineError, match="You have 2 jobs waiting, the most allowed is 2"):
        board.add(REQUEST, "a")
    board.add(REQUEST, "b")
    with pytest.raises(EngineError, match=r"The queue is full \(3 jobs wait\)"):
        board.add(REQUEST, "c")


def test_only_the_last_ended_jobs_are_remembered_and_unknown_ones_are_named():
    board = JobBoard(keep_ended=2)
    jobs = [board.add(REQUEST) for _ in range(4)]
    for _ in jobs:
        job = board.take()
        board.end(job, Done(job.id))
    assert [type(e) for e in board.events(jobs[3].id)] == [Queued, Queued, Queued, Queued, Done]
    with pytest.raises(EngineError, match="not known any more"):
        board.events(jobs[0].id)


def test_clients_that_left_are_forgotten():
    board = JobBoard()
    for number in range(300):
        board.add(REQUEST, f"client {number}")
        job = board.take()
        board.end(job, Done(job.id))
    assert len(board._last_turns) <= 301
    board.add(REQUEST, "x")
    board.add(REQUEST, "x")
    for _ in range(2):
        job = board.take()
        board.end(job, Done(job.id))
    assert len(board._last_turns) <= 1


def test_cancelling_a_waiting_job_moves_the_others_up():
    board = JobBoard()
    running, first, second = (board.add(REQUEST) for _ in range(3))
    board.take()
    board.cancel(first.id)
    assert isinstance(first.log[-1], Cancelled)
    assert [e.ahead for e in second.log if isinstance(e, Queued)] == [2, 1]
    assert running.state == "running"


def test_waits_are_unknown_behind_a_job_of_unknown_length():
    board = JobBoard(estimate=lambda request: None if request.images > 1 else 5.0)
    for images in (1, 1, 2, 1):
        board.add(GenerateRequest(prompt="x", images=images))
    assert [info.wait_s for info in board.infos()] == [0.0, 5.0, 10.0, None]


def test_events_of_an_ended_job_have_no_effect_on_it():
    board = JobBoard()
    job = board.add(REQUEST)
    board.take()
    board.end(job, Done(job.id))
    for act in (board.cancel, board.skip, board.finish):
        act(job.id)
    board.move(job.id, 0)
    assert job.state == "done"
    assert len(list(board.events(job.id))) == 2
