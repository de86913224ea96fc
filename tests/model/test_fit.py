"""What the encoders read, and what happens when it is too long. Words count as tokens here."""

import pytest

from newbie_ui.errors import PromptError
from newbie_ui.model.fit import SYSTEM_MARK, TokenLimits, bucket_for, fit_text

SYSTEM = f"You draw. {SYSTEM_MARK}"
LIMITS = TokenLimits(trained=12, maximum=20, clip=30)
LETTERS = " ".join("abcdef")
THREE = (
    f"<character_1><appearance>{LETTERS}</appearance></character_1>\n"
    f"<character_2><appearance>{LETTERS}</appearance></character_2>\n"
    f"<general_tags><count>2girls</count><other>{LETTERS}</other></general_tags>"
)


def words(text):
    return len(text.split())


def fit(text, system=SYSTEM, **options):
    return fit_text(text, system, words, words, LIMITS, **options)


def test_gemma_reads_the_system_prompt_and_clip_does_not():
    fitted = fit("1girl, smile")
    assert fitted.gemma == SYSTEM + " 1girl, smile"
    assert fitted.clip == "1girl, smile"
    assert fitted.tokens == 6
    assert fitted.warning == ""


def test_a_system_prompt_that_ends_with_a_newline_gets_no_space():
    assert fit("1girl", SYSTEM + "\n").gemma == SYSTEM + "\n1girl"


@pytest.mark.parametrize("empty", ["", "  \n"])
def test_an_empty_text_gets_no_system_prompt(empty):
    assert fit(empty).gemma == empty


def test_a_text_may_bring_its_own_system_prompt():
    fitted = fit(f"My own rules. {SYSTEM_MARK}\n1girl")
    assert fitted.gemma == f"My own rules. {SYSTEM_MARK}\n1girl"
    assert fitted.clip == "1girl"


@pytest.mark.parametrize("system", [None, ""])
def test_the_system_prompt_can_be_off(system):
    assert fit("1girl", system).gemma == "1girl"


def test_above_the_trained_length_there_is_a_warning_with_both_numbers():
    assert "14 tokens; the model was trained with 12" in fit("a " * 10).warning


def test_above_the_limit_the_count_the_limit_and_the_way_out_are_named():
    with pytest.raises(PromptError, match=r"24 tokens.*takes 20 at most.*by 4 tokens.*take out a character"):
        fit("a " * 20)


def test_clip_has_a_limit_of_its_own():
    with pytest.raises(PromptError, match=r"31 tokens.*CLIP text encoder takes 30"):
        fit_text("a " * 31, None, lambda text: 5, words, LIMITS)


def test_cutting_leaves_out_whole_elements_and_says_which():
    fitted = fit(THREE, on_excess="cut")
    assert fitted.tokens <= LIMITS.maximum
    assert "character_1" in fitted.gemma
    assert fitted.removed
    for name in fitted.removed:
        assert name in fitted.warning
        assert f"<{name}>" not in fitted.clip


def test_cutting_changes_nothing_that_fits():
    assert fit("1girl", on_excess="cut") == fit("1girl")


def test_cutting_that_is_not_enough_is_refused_and_says_what_was_tried():
    with pytest.raises(PromptError, match=r"even without .*character_2.* takes 4 at most"):
        fit_text(THREE, SYSTEM, words, words, TokenLimits(2, 4, 30), on_excess="cut")


def test_a_plain_list_loses_its_last_tags():
    fitted = fit_text("a, b, c, d, e", None, words, words, TokenLimits(2, 3, 30), on_excess="cut")
    assert fitted.clip == "a, b, c"
    assert fitted.removed == ("the last 2 tags",)


def test_the_way_of_cutting_can_be_replaced():
    fitted = fit("a " * 30, on_excess="cut", cutter=lambda text, fits: ("short", ("everything",)))
    assert fitted.clip == "short"
    assert fitted.removed == ("everything",)


@pytest.mark.parametrize(
    ("length", "bucket"), [(1, 128), (256, 256), (257, 320), (1023, 1024), (1025, 1280), (2049, 2049)]
)
def test_the_bucket_is_the_smallest_that_holds_the_caption(length, bucket):
    assert bucket_for(length) == bucket
