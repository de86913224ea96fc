"""What "auto" becomes."""

import pytest

from newbie_ui.engine.base import ModelInfo
from newbie_ui.engine.resolve import resolve
from newbie_ui.request import GenerateRequest

MODEL = ModelInfo("m", "", "", True, "", ((256, 256),), {"width": 256, "height": 256, "shift": 4.0})


@pytest.mark.parametrize(
    ("asked", "shift"),
    [
        ({}, 4.0),
        ({"width": 512, "height": 512}, 4.0),
        ({"width": 512, "height": 512, "shift_scaling": "size"}, 8.0),
        ({"width": 128, "height": 128, "shift_scaling": "size"}, 2.0),
        ({"width": 512, "height": 512, "shift_scaling": "size", "shift": 3.0}, 6.0),
    ],
)
def test_the_shift_is_fixed_or_grows_with_the_picture(asked, shift):
    assert resolve(GenerateRequest(**asked), MODEL, "auto")[0].shift == pytest.approx(shift)
