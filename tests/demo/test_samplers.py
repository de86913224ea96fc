"""The measure of samplers: when a curve is there, what the table says."""

import math

import pytest

from newbie_ui.demo import samplers
from newbie_ui.demo.grading import Score
from newbie_ui.demo.samplers import accuracy, best_of, error_of_difference, errors_of, steps_needed, table


def test_a_sampler_is_there_when_it_stays_within_a_point_of_its_best():
    assert steps_needed({4: 50.0, 8: 90.5, 16: 89.0, 28: 91.0, 50: 90.9}, best=90.9) == 28  # 8 was luck
    assert steps_needed({4: 95.0, 8: 94.9, 50: 94.2}, best=94.2) == 4
    assert steps_needed({4: 0.0, 50: 94.2}, best=94.2) == 50
    assert steps_needed({4: 0.0, 8: 90.0}, best=94.2) is None


def test_a_sampler_that_was_not_run_to_the_end_is_held_against_euler():
    curves = {"euler": {4: 80.0, 50: 92.0}, "heun": {4: 91.5}, "euler_ancestral": {4: 80.0, 50: 90.0}}
    assert [best_of(curves, sampler) for sampler in curves] == [92.0, 92.0, 90.0]
    assert table(curves, {}).splitlines()[3] == "| `heun` | **91.5** |  | 4 | 7 | – |"


def test_accuracy_leaves_binding_out_which_counts_errors():
    assert accuracy({"hair": 100.0, "eyes": 50.0, "binding": 1.0}) == 75.0


def test_the_table_marks_where_each_sampler_is_there():
    curves = {"euler": {4: 80.0, 8: 90.2, 50: 91.0}, "heun": {4: 90.5, 8: 90.9, 50: 91.0}}
    lines = table(curves, {"euler": 0.62}).splitlines()
    assert lines[0] == "| sampler | 4 | 8 | 50 | there at | model runs | ± |"
    assert lines[2] == "| `euler` | 80.0 | **90.2** | 91.0 | 8 | 8 | 0.6 |"
    assert lines[3] == "| `heun` | **90.5** | 90.9 | 91.0 | 4 | 7 | – |"


def score(right, of=10):
    one = Score()
    for k in range(of):
        one.add("hair", k < right)
    return one


def test_the_standard_error_of_paired_pictures_is_that_of_their_differences():
    some, others = [score(n) for n in (9, 7, 8, 10)], [score(n) for n in (8, 8, 8, 8)]
    differences = [10.0, -10.0, 0.0, 20.0]  # points
    mean = sum(differences) / 4
    expected = math.sqrt(sum((d - mean) ** 2 for d in differences) / 3 / 4)
    assert error_of_difference(some, others) == pytest.approx(expected, rel=1e-3)  # percentages have two decimals
    assert error_of_difference(some, some) == 0
    assert math.isnan(error_of_difference(some[:1], others[:1]))


def test_each_sampler_has_the_error_of_the_count_where_it_is_there():
    euler = {4: [score(5), score(7)], 8: [score(9), score(8)], 50: [score(9), score(8)]}
    heun = {4: [score(9), score(9)]}
    scores = {("euler", n): s for n, s in euler.items()} | {("heun", n): s for n, s in heun.items()}
    assert errors_of(scores) == {"euler": 0.0, "heun": 5.0}


def test_the_shipped_model_is_measured_batch_by_batch(capsys):
    options = "--prompts 2 --batch 1 --counts 2,3 --samplers euler,heun --shared-end --device cpu"
    assert samplers.main(options.split()) == 0
    *_, before_last, line = capsys.readouterr().out.splitlines()
    assert before_last.startswith("| `heun` | ")
    assert '"prompts": 2, "schedule": "simple", "dtype": "float32"' in line
