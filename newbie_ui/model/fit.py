"""What each encoder reads, and whether it fits: needs tokenizers only, no model.

Promises: `fit_text` gives the two texts of a prompt (Gemma reads system prompt and prompt, CLIP the prompt alone),
their token count, and a warning, an error or a cut where it is too long. Nothing is ever cut silently.
Does not know which tokenizer counts: it gets a function.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from newbie_ui.errors import PromptError
from newbie_ui.prompt.budget import cut, joined

SYSTEM_MARK = "<Prompt Start>"  # ends a system prompt; a text that holds it brings its own
NEGATIVE_SYSTEM_PROMPT = (
    "You are an assistant designed to generate low-quality images based on textual prompts. " + SYSTEM_MARK
)
# Caption lengths that compiled graphs are made for: fine enough that padding costs a percent or two. No caption has
# more than 1,023 tokens, but both of a picture may lie in one row.
CAPTION_BUCKETS = (128, 192, 256, 320, 384, 448, 512, 640, 768, 896, 1024, 1280, 1536, 1792, 2048)

Count = Callable[[str], int]
Cutter = Callable[[str, Callable[[str], bool]], "tuple[str, tuple[str, ...]]"]


@dataclass(frozen=True)
class TokenLimits:
    """Gemma tokens that were trained and that have a position; CLIP tokens that were trained."""

    trained: int = 512
    maximum: int = 1023
    clip: int = 2048


@dataclass(frozen=True)
class FittedText:
    """One prompt as the encoders get it. Equal prompts are equal objects, so this is a key for a cache."""

    gemma: str
    clip: str
    tokens: int  # of `gemma`, with the begin token
    warning: str = ""
    removed: tuple[str, ...] = ()  # names of what was cut


def without_system_prompt(text: str) -> str:
    """What CLIP reads."""
    return text.rpartition(SYSTEM_MARK)[2].lstrip() if SYSTEM_MARK in text else text


def fit_text(
    text: str,
    system_prompt: str | None,
    count_gemma: Count,
    count_clip: Count,
    limits: TokenLimits,
    *,
    on_excess: str = "refuse",
    cutter: Cutter | None = None,
) -> FittedText:
    """The texts of one prompt for both encoders.

    Args:
        text: what the artist typed.
        system_prompt: put in front for Gemma only; None or "" for none.
        count_gemma, count_clip: tokens of a text, special tokens included.
        limits: see `TokenLimits`.
        on_excess: "refuse" raises for a prompt that is too long, "cut" leaves out whole elements and says which.
        cutter: how to cut; `newbie_ui.prompt.budget.cut` by default.

    Raises:
        PromptError: too long and not to be cut, or still too long when cut.
    """
    removed: tuple[str, ...] = ()

    def tokens(candidate: str) -> int:
        return count_gemma(joined(candidate, system_prompt))

    n, n_clip = tokens(text), count_clip(without_system_prompt(text))
    if on_excess == "cut" and (n > limits.maximum or n_clip > limits.clip):

        def fits(candidate: str) -> bool:
            short = count_clip(without_system_prompt(candidate)) <= limits.clip
            return short and tokens(candidate) <= limits.maximum

        text, removed = (cutter or cut)(text, fits)
        n, n_clip = tokens(text), count_clip(without_system_prompt(text))
    _refuse_excess(n, limits.maximum, "the text encoder", removed)
    _refuse_excess(n_clip, limits.clip, "the CLIP text encoder", removed)
    return FittedText(
        gemma=joined(text, system_prompt),
        clip=without_system_prompt(text),
        tokens=n,
        warning=_warning(n, limits.trained, removed),
        removed=removed,
    )


def _refuse_excess(tokens: int, limit: int, who: str, removed: tuple[str, ...]) -> None:
    if tokens <= limit:
        return
    tried = f" even without {', '.join(removed)}" if removed else ""
    raise PromptError(
        f"The prompt has {tokens} tokens{tried}, its system prompt included; {who} takes {limit} at most. Shorten it "
        f"by {tokens - limit} tokens: take out a character or tags, remove indentation and empty fields, or set "
        "Too long (fit) to cut."
    )


def _warning(tokens: int, trained: int, removed: tuple[str, ...]) -> str:
    parts = []
    if removed:
        parts.append(f"Too long, so this was left out: {', '.join(removed)}.")
    if tokens > trained:
        parts.append(
            f"The prompt has {tokens} tokens; the model was trained with {trained}, so it may follow the end less well."
        )
    return " ".join(parts)


def bucket_for(length: int, buckets: tuple[int, ...] = CAPTION_BUCKETS) -> int:
    """The smallest bucket that holds this many caption tokens; the length itself where none does."""
    return next((bucket for bucket in buckets if bucket >= length), length)
