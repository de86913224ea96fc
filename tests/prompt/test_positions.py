"""Position tags and the pad."""

import pytest

from newbie_ui.prompt.positions import COLUMNS, Cell, from_point, read, spread, tag, write

CELLS = [Cell(column, depth) for column in range(7) for depth in range(3)]


@pytest.mark.parametrize("cell", CELLS)
def test_every_cell_is_written_and_read_back(cell):
    assert read(tag(cell)) == cell


def test_a_cell_of_the_middle_depth_needs_one_tag():
    assert tag(Cell(2)) == "center_left"
    assert tag(Cell(2, 2)) == "center_left, foreground"
    assert tag(Cell(3, 0)) == "center, background"


@pytest.mark.parametrize(
    ("value", "cell"),
    [
        ("center_left", Cell(2)),
        ("left_side", Cell(1)),
        ("left", Cell(1)),
        ("far left", Cell(0)),
        ("Centre-Right", Cell(4)),
        ("on the right side", Cell(5)),
        ("left side of the picture", Cell(1)),
        ("foreground", Cell(3, 2)),
        ("full-frame, center, foreground, tight shot, extreme close-up", Cell(3, 2)),
        ("background, right", Cell(5, 0)),
        ("左侧", Cell(1)),
        ("中央、奥", Cell(3, 0)),
    ],
)
def test_the_spellings_seen_in_prompts_are_read(value, cell):
    assert read(value) == cell


@pytest.mark.parametrize("value", ["", "standing", "tight shot", "  ,, "])
def test_a_value_without_a_place_is_no_cell(value):
    assert read(value) is None


def test_only_the_words_of_the_place_are_changed():
    assert write("full-frame, center, foreground, tight shot", Cell(1)) == "full-frame, left_side, tight shot"
    assert write("tight shot", Cell(5, 2)) == "right_side, foreground, tight shot"
    assert write("center left", Cell(4)) == "center right"
    assert write("left", Cell(1)) == "left", "it says so already"
    assert write("", Cell(0)) == "far_left"


def test_points_of_the_picture_become_cells():
    assert from_point(0.3, 0.5) == Cell(2)
    assert from_point(0.5, 0.5) == Cell(3)
    assert from_point(0.7, 0.9) == Cell(4, 2)
    assert from_point(0.1, 0.1) == Cell(0, 0)
    assert from_point(1.0, -3) == Cell(6, 0)


def test_several_characters_are_spread_from_left_to_right_without_sharing_a_place():
    for count in range(8):
        columns = [cell.column for cell in spread(count)]
        assert columns == sorted(columns)
        assert len(columns) == count
        assert len(set(columns)) == count
    assert [COLUMNS[cell.column] for cell in spread(2)] == ["center_left", "center_right"]
