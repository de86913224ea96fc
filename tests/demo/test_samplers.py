"""The measure of samplers: when a curve is there, what the table says."""

from newbie_ui.demo.samplers import accuracy, best_of, steps_needed, table


def test_a_sampler_is_there_when_it_stays_within_a_point_of_its_best():
    assert steps_needed({4: 50.0, 8: 90.5, 16: 89.0, 28: 91.0, 50: 90.9}, best=90.9) == 28  # 8 was luck
    assert steps_needed({4: 95.0, 8: 94.9, 50: 94.2}, best=94.2) == 4
    assert steps_needed({4: 0.0, 50: 94.2}, best=94.2) == 50
    assert steps_needed({4: 0.0, 8: 90.0}, best=94.2) is None


def test_a_sampler_that_was_not_run_to_the_end_is_held_against_euler():
    curves = {"euler": {4: 80.0, 50: 92.0}, "heun": {4: 91.5}, "euler_ancestral": {4: 80.0, 50: 90.0}}
    assert [best_of(curves, sampler) for sampler in curves] == [92.0, 92.0, 90.0]
    assert table(curves).splitlines()[3] == "| `heun` | **91.5** |  | 4 | 7 |"


def test_accuracy_leaves_binding_out_which_counts_errors():
    assert accuracy({"hair": 100.0, "eyes": 50.0, "binding": 1.0}) == 75.0


def test_the_table_marks_where_each_sampler_is_there():
    lines = table({"euler": {4: 80.0, 8: 90.2, 50: 91.0}, "heun": {4: 90.5, 8: 90.9, 50: 91.0}}).splitlines()
    assert lines[2] == "| `euler` | 80.0 | **90.2** | 91.0 | 8 | 8 |"
    assert lines[3] == "| `heun` | **90.5** | 90.9 | 91.0 | 4 | 7 |"
