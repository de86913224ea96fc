"""A recipe in other clothes: a link that holds all of it, and texts to copy.

Promises: a link keeps every field of a request, needs nothing on the server, is checked field by field when it is
opened, and never unpacks to more than its limit. Copied Python is made of literals only, whatever the prompt says.

A link's text is `1` (its version) and base64url of zlib with a fixed dictionary, of the JSON of the fields that
differ from an empty request.
"""

from __future__ import annotations

import base64
import binascii
import json
import zlib
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from newbie_ui.errors import PromptError
from newbie_ui.gallery.parameters import parameters_text
from newbie_ui.gallery.record import Record, read_request
from newbie_ui.gallery.safe import Damaged, inflate, load_object
from newbie_ui.request import GenerateRequest

LINK_VERSION = "1"
MAX_LINK_CHARS = 16_000
MAX_LINK_BYTES = 2**18

# Words that most recipes have, the most usual last. Part of link version 1: a change needs version 2.
_WORDS_1 = (
    '"images":"fit":"cut""guidance_end":"guidance_start":"guidance_rescale":"guidance_renorm":"schedule":"karras"'
    '"beta""linear_quadratic""exponential""sampler":"dpmpp_2m""unipc""heun""euler_ancestral""preset":"loras":[{"name":"'
    '","weight":"shift":6.0"system_prompt":"You are an assistant designed to generate high-quality anime images with '
    'the highest degree of image-text alignment based on xml format textual prompts. <Prompt Start>""negative_prompt":"'
    "<danbooru_tags>low_score_rate, worst_quality, low_quality, bad_quality, lowres, bad_anatomy, bad_hands, text, "
    "watermark, blurry, jpeg_artifacts</danbooru_tags>"
    '"width":1024,"height":1024,"steps":28,"guidance_scale":4.5,"seed":'
    "masterpiece, best_quality, very_aesthetic, simple_background, white_background, outdoors, school_uniform, "
    "serafuku, looking_at_viewer, standing, sitting, holding_, open_mouth, closed_mouth, smile, happy, short_hair, "
    "long_hair, blonde_hair, brown_hair, black_hair, pink_hair, blue_hair, red_eyes, blue_eyes, green_eyes, "
    "hair_ornament, "
    '"prompt":"<character_1>\\n<n>$character_1$</n>\\n<gender>1girl</gender>\\n<appearance></appearance>\\n<clothing>'
    "</clothing>\\n<expression></expression>\\n<action></action>\\n<interaction></interaction>\\n<position>center_left"
    "</position>\\n</character_1>\\n\\n<character_2>\\n<n>$character_2$</n>\\n<gender>1boy</gender>\\n<position>"
    "center_right</position>\\n</character_2>\\n\\n<general_tags>\\n<count>2girls, multiple_girls</count>\\n<style>"
    "anime_style, digital_art</style>\\n<background></background>\\n<atmosphere>cheerful</atmosphere>\\n<quality>"
    "high_resolution, detailed</quality>\\n<objects></objects>\\n<other></other>\\n</general_tags>"
)
_DICTIONARY = _WORDS_1.encode("ascii")


# ---- links -------------------------------------------------------------------------------------------------------


def link(values: GenerateRequest | Mapping[str, Any]) -> str:
    """The text for the query of a link. Raises PromptError when the recipe is too long for one."""
    request = values if isinstance(values, GenerateRequest) else GenerateRequest.from_dict(values)
    empty = GenerateRequest().to_dict()
    recipe = {key: value for key, value in request.to_dict().items() if value != empty[key] and value != ()}
    text = json.dumps(recipe, ensure_ascii=True, separators=(",", ":"))
    packer = zlib.compressobj(9, zdict=_DICTIONARY)
    packed = packer.compress(text.encode("ascii")) + packer.flush()
    made = LINK_VERSION + base64.urlsafe_b64encode(packed).decode("ascii").rstrip("=")
    if len(made) > MAX_LINK_CHARS:
        raise PromptError(
            f"This recipe makes a link of {len(made):,} characters; {MAX_LINK_CHARS:,} go through everywhere. "
            "Share the PNG instead: it holds the same."
        )
    return made


def read_link(text: str) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The fields that a link states, checked, and sentences about those that were left out.

    Raises PromptError when it is not a link of ours, is damaged or too large.
    """
    if len(text) > MAX_LINK_CHARS:
        raise PromptError(f"This link has {len(text):,} characters; {MAX_LINK_CHARS:,} at most are read. Use the PNG.")
    if not text.startswith(LINK_VERSION):
        raise PromptError("This link is of another version of the program. Ask for the PNG, or update the program.")
    try:
        packed = base64.b64decode(text[1:] + "=" * (-len(text[1:]) % 4), altchars=b"-_", validate=True)
        data = load_object(inflate(packed, MAX_LINK_BYTES, zdict=_DICTIONARY).decode("ascii"))
    except (Damaged, binascii.Error, UnicodeDecodeError, ValueError) as error:
        raise PromptError("This link is damaged or cut off. Ask for it again, or for the PNG.") from error
    problems: list[str] = []
    request = read_request(data, problems)
    stated = {f.name: getattr(request, f.name) for f in fields(GenerateRequest) if f.name in data}
    return stated, tuple(problems)


# ---- copies ------------------------------------------------------------------------------------------------------


def as_xml(record: Record) -> str:
    """The prompt as the encoders read it."""
    return record.prompt


def as_a1111(record: Record) -> str:
    """The text that other programs read."""
    return parameters_text(record)


_ARGUMENTS = {
    "negative_prompt": "negative_prompt",
    "system_prompt": "system_prompt",
    "width": "width",
    "height": "height",
    "steps": "num_inference_steps",
    "guidance_scale": "guidance_scale",
    "guidance_renorm": "guidance_renorm",
    "guidance_rescale": "guidance_rescale",
    "guidance_start": "guidance_start",
    "guidance_end": "guidance_end",
    "shift": "shift",
}
_ALWAYS = ("width", "height", "steps", "guidance_scale")


def as_python(values: GenerateRequest | Mapping[str, Any], model: str) -> str:
    """A script for diffusers that makes this picture; every value of the recipe is a literal in it."""
    request = values if isinstance(values, GenerateRequest) else GenerateRequest.from_dict(values)
    request = request.checked()
    own_schedule = _schedule_lines(request)
    lines = [
        *(["from pathlib import Path", ""] if request.loras else []),
        "import torch",
        "",
        *(["from newbie_ui.model.lora import LoraSet"] if request.loras else []),
        *(["from newbie_ui.model.lora_files import LoraShelf"] if request.loras else []),
        "from newbie_ui.model.pipeline import NewbiePipeline",
        *(["from newbie_ui.model.schedule import make_schedule"] if own_schedule else []),
        "",
        f"pipe = NewbiePipeline.from_pretrained({model!r}, torch_dtype=torch.bfloat16)",
        'pipe.to("cuda" if torch.cuda.is_available() else "cpu")',
        *_lora_lines(request),
        f"prompt = {_text(request.prompt)}",
        "image = pipe(",
        "    prompt,",
        *_argument_lines(request, bool(own_schedule)),
        *own_schedule,
        *([f"    generator=torch.Generator().manual_seed({request.seed!r}),"] if request.seed is not None else []),
        ").images[0]",
        'image.save("picture.png")',
    ]
    return "\n".join(lines) + "\n"


def _argument_lines(request: GenerateRequest, own_schedule: bool) -> list[str]:
    empty, lines = GenerateRequest(), []
    for name, argument in _ARGUMENTS.items():
        value = getattr(request, name)
        if value is None or (value == getattr(empty, name) and name not in _ALWAYS):
            continue
        if own_schedule and name in ("steps", "shift"):
            continue  # the scheduler has them
        lines.append(f"    {argument}={_text(value, '    ') if isinstance(value, str) else repr(value)},")
    return lines


def _schedule_lines(request: GenerateRequest) -> list[str]:
    """Sampler and schedule where they are not the usual ones; steps and shift have to be known for it."""
    if (request.sampler, request.schedule) == ("euler", "simple") or None in (request.steps, request.shift):
        return []
    chosen = f"{request.sampler!r}, {request.schedule!r}, steps={request.steps!r}, shift={request.shift!r}"
    return [f"    scheduler=make_schedule({chosen}).scheduler(),"]


def _lora_lines(request: GenerateRequest) -> list[str]:
    if not request.loras:
        return []
    uses = ", ".join(f"({use.name!r}, {float(use.weight)!r})" for use in request.loras)
    return [f'LoraSet(pipe.transformer, LoraShelf(Path("loras"))).use([{uses}])']


def _text(text: str, indent: str = "") -> str:
    """A literal of the text: one line each where it has several."""
    lines = text.splitlines(keepends=True)
    if len(lines) < 2:
        return repr(text)
    return "(\n" + "".join(f"{indent}    {line!r}\n" for line in lines) + f"{indent})"
