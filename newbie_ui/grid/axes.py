"""What a side of a grid can vary, and how each of its values changes a request. Standard library only.

Promises: `offered` lists every axis that fits a prompt and a machine, `read_axis` turns an axis' id and the typed
values into an `Axis`; both take any text from a browser. A value changes only what its axis names.

Ids: a field of `GenerateRequest` (`steps`, `sampler`, `preset`, `prompt` …), `size`, `replace`, `lora:<file>`,
`character:<n>:<field>`, `general:<field>`, `extra:<element>`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import partial
from types import MappingProxyType

from newbie_ui.errors import RequestError, UserError
from newbie_ui.grid.values import GridError, names, numbers, texts, words
from newbie_ui.prompt import edit
from newbie_ui.prompt.document import NAME_FIELDS, OFFICIAL_CHARACTER_FIELDS, OFFICIAL_GENERAL_FIELDS
from newbie_ui.prompt.xml import has_markup, parse
from newbie_ui.request import PARAMETERS, GenerateRequest, LoraUse, Parameter, random_seed

Change = Callable[[GenerateRequest], GenerateRequest]

PICTURE = ("seed", "steps", "guidance_scale", "size", "width", "height")
TEXTS = ("replace", "prompt", "negative_prompt", "system_prompt")
EXAMPLES = {
    "seed": "1, 2, 3  or  random 4",
    "steps": "10, 20, 30",
    "guidance_scale": "3-7:3",
    "size": "256x256, 256x384",
    "width": "512..1024 step 256",
    "height": "512..1024 step 256",
    "shift": "3, 6, 9",
    "guidance_renorm": "0, 1, 2",
    "guidance_rescale": "0..0.6 step 0.2",
    "guidance_start": "0, 0.1, 0.2",
    "guidance_end": "0.6..1 step 0.2",
    "replace": "blue_hair, red_hair, green_hair",
    "loras": "none | name | name:0.6",
}
TEXT_EXAMPLE = "one | another | a third"
LORA_EXAMPLE = "0..1 step 0.25"
MAX_OFFERED = 200
_OTHER = {"preset": "names", "size": "sizes", "replace": "replace"}


@dataclass(frozen=True)
class Known:
    """What the machine and the form know beside the request itself.

    `presets` and `samplers` are (name, label); `slots` are the numbers of the cards whose characters stand in the
    prompt, for a form that leaves muted ones out; empty means 1, 2, 3 …
    """

    presets: tuple[tuple[str, str], ...] = ()
    loras: tuple[str, ...] = ()
    slots: tuple[int, ...] = ()


@dataclass(frozen=True)
class Value:
    """One value of an axis: what its row or column is called, and what it changes."""

    label: str
    change: Change


@dataclass(frozen=True)
class Axis:
    """One side of a grid. `turn`: of two axes the one with the lower turn changes the request first."""

    id: str
    label: str
    values: tuple[Value, ...]
    fields: frozenset[str]  # of the request, set outright: no other axis may set them
    turn: int = 0


@dataclass(frozen=True)
class Offer:
    """One row of the axis picker. `name` is the field's name where `group` is a part of the prompt."""

    id: str
    group: str  # "picture" | "prompt" | "character" | "general" | "extra" | "sampling" | "device"
    label: str
    example: str
    name: str = ""
    number: int = 0  # of the card

    @property
    def kind(self) -> str:
        """How its values are written: numbers, names, sizes, replace, texts."""
        if self.id in PARAMETERS:
            declared = PARAMETERS[self.id].kind
            return {"int": "numbers", "float": "numbers", "choice": "names"}.get(declared, _OTHER.get(self.id, "texts"))
        return "numbers" if self.id.startswith("lora:") else _OTHER.get(self.id, "texts")


# ---- what there is ----------------------------------------------------------------------------------------------


def offered(prompt: str, known: Known) -> tuple[Offer, ...]:
    """Every axis for this prompt on this machine, in the order of the picker."""
    sampling = [n for n, p in PARAMETERS.items() if n not in (*PICTURE, *TEXTS, "images", "preset", "loras")]
    rows = [Offer(name, "picture", axis_label(name), EXAMPLES[name]) for name in PICTURE]
    rows += [Offer(name, "prompt", axis_label(name), EXAMPLES.get(name, TEXT_EXAMPLE)) for name in TEXTS]
    rows += _parts(prompt, known)
    rows += [Offer(name, "sampling", axis_label(name), example_of(name)) for name in sampling]
    rows.append(Offer("preset", "device", axis_label("preset"), ", ".join(n for n, _ in known.presets[:3]) or "all"))
    if known.loras:
        rows.append(Offer("loras", "device", axis_label("loras"), f"none | {known.loras[0]}"))
        rows += [Offer(f"lora:{n}", "device", axis_label(f"lora:{n}"), LORA_EXAMPLE) for n in known.loras]
    return tuple(rows[:MAX_OFFERED])


def example_of(name: str) -> str:
    return EXAMPLES.get(name) or ", ".join(PARAMETERS[name].choices[:3]) or TEXT_EXAMPLE


def _parts(prompt: str, known: Known) -> list[Offer]:
    """The fields of the prompt: those it has and those that a card always shows."""
    document = parse(prompt).prompt
    rows = []
    for place, character in enumerate(document.characters, 1):
        number = known.slots[place - 1] if place <= len(known.slots) else place
        for name in dict.fromkeys((*OFFICIAL_CHARACTER_FIELDS, *filter(None, character.names()))):
            id = f"character:{number}:{name}"
            rows.append(Offer(id, "character", axis_label(id), TEXT_EXAMPLE, name, number))
    if document.characters or document.general.fields:
        for name in dict.fromkeys((*OFFICIAL_GENERAL_FIELDS, *filter(None, document.general.names()))):
            rows.append(Offer(f"general:{name}", "general", axis_label(f"general:{name}"), TEXT_EXAMPLE, name))
    for name in dict.fromkeys(extra.name for extra in document.extras if extra.name):
        rows.append(Offer(f"extra:{name}", "extra", axis_label(f"extra:{name}"), TEXT_EXAMPLE, name))
    return rows


def axis_label(id: str) -> str:
    """What an axis is called in English, on the sheet and in sentences."""
    kind, _, rest = id.partition(":")
    if kind == "character":
        number, _, name = rest.partition(":")
        return f"Character {number}, {'name' if name in NAME_FIELDS else name.replace('_', ' ')}"
    if kind in ("general", "extra"):
        return f"{kind.capitalize() if kind == 'general' else 'Prompt'}, {rest.replace('_', ' ')}"
    if kind == "lora":
        return f"LoRA {rest}"
    return {"size": "Size", "replace": "Text"}.get(id) or PARAMETERS[id].label


# ---- from text to an axis ----------------------------------------------------------------------------------------


def read_axis(id: str, text: str, request: GenerateRequest, known: Known) -> Axis:
    """The axis of this id with the values typed for it. Raises GridError."""
    kind, colon, _ = id.partition(":")
    parameter = PARAMETERS.get(id)
    reader = (
        _PARTS.get(kind) if colon else _WHOLE.get(id) or (_PARAMETER_KINDS.get(parameter.kind) if parameter else None)
    )
    if reader is None or id == "images":
        raise GridError(f"There is no axis {id[:60]!r}. Choose one from the list.")
    try:
        return reader(id, text, request, known)
    except RequestError as error:
        raise GridError(str(error)) from error


def _axis(id: str, values: Sequence[tuple[str, Change]], fields: Sequence[str] = (), turn: int = 0) -> Axis:
    return Axis(id, axis_label(id), tuple(Value(label, change) for label, change in values), frozenset(fields), turn)


def _numbers(id: str, text: str, request: GenerateRequest, known: Known) -> Axis:
    parameter = PARAMETERS[id]
    whole = parameter.kind == "int"
    step = Decimal(int(parameter.step or 1)) if whole else Decimal(1)
    found = numbers(text, parameter.label, whole=whole, step=step)
    if id != "seed" and None in found:
        raise GridError(f"{parameter.label} cannot be random. Write numbers, for example {EXAMPLES[id]}.")
    checked = [random_seed() if value is None else _checked(parameter, value) for value in found]
    return _axis(id, [(_shown(value), partial(replace, **{id: value})) for value in checked], [id])


def _checked(parameter: Parameter, value: Decimal) -> int | float:
    exact = int(value) if value == value.to_integral_value() else float(value)
    return parameter.check(exact)


def _shown(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:g}"


def _choices(id: str, text: str, request: GenerateRequest, known: Known) -> Axis:
    parameter = PARAMETERS[id]
    found = names(text, parameter.label, [(choice, choice) for choice in parameter.choices])
    return _axis(id, [(name, partial(replace, **{id: name})) for name in found], [id])


def _presets(id: str, text: str, request: GenerateRequest, known: Known) -> Axis:
    labels = dict(known.presets)
    found = names(text, PARAMETERS[id].label, known.presets)
    return _axis(id, [(labels[name], partial(replace, preset=name)) for name in found], [id])


def _texts(id: str, text: str, request: GenerateRequest, known: Known) -> Axis:
    parameter = PARAMETERS[id]
    found = [parameter.check(value) for value in texts(text, parameter.label)]
    set_to = {value: value or None if id == "system_prompt" else value for value in found}
    return _axis(id, [(value or "(empty)", partial(replace, **{id: set_to[value]})) for value in found], [id], turn=-2)


def _sizes(id: str, text: str, request: GenerateRequest, known: Known) -> Axis:
    values = []
    for word in words(text, "Size"):
        width, by, height = word.lower().replace("×", "x").replace("*", "x").partition("x")
        if not by or not width.strip().isdecimal() or not height.strip().isdecimal():
            raise GridError(f"Size {word[:40]!r} is not width x height. Write it like 832x1216.")
        size = {"width": PARAMETERS["width"].check(width.strip()), "height": PARAMETERS["height"].check(height.strip())}
        values.append(("{width} x {height}".format(**size), partial(replace, **size)))
    return _axis(id, values, ["width", "height"])


# ---- LoRA ---------------------------------------------------------------------------------------------------------


def _lora_weights(id: str, text: str, request: GenerateRequest, known: Known) -> Axis:
    name = id.partition(":")[2]
    if name not in known.loras:
        raise GridError(f"LoRA {name[:60]!r} is not in the folder. Choose another axis.")
    found = numbers(text, f"LoRA {name}", whole=False, step=Decimal("0.25"))
    weights = [_weight(name, value) for value in found]
    return _axis(id, [(_shown(weight), partial(_with_lora, name=name, weight=weight)) for weight in weights])


def _weight(name: str, value: Decimal | None) -> float:
    if value is None or not -4 <= value <= 4:
        raise GridError(f"Weight {'random' if value is None else value} of LoRA {name!r} cannot be used. Use -4 to 4.")
    return float(value)


def _with_lora(request: GenerateRequest, name: str, weight: float) -> GenerateRequest:
    uses = [use for use in request.loras if use.name != name]
    place = next((i for i, use in enumerate(request.loras) if use.name == name), len(uses))
    return replace(request, loras=(*uses[:place], LoraUse(name, weight), *uses[place:]))


def _loras(id: str, text: str, request: GenerateRequest, known: Known) -> Axis:
    """Which one LoRA: `none`, its name, or name:weight; takes the place of those in the form."""
    values = []
    for word in words(text, "LoRA"):
        name, colon, weight = word.rpartition(":")
        if word in known.loras or not colon:
            name, weight = word, "1"
        if name.lower() == "none":
            values.append(("none", partial(replace, loras=())))
            continue
        if name not in known.loras:
            listed = ", ".join(known.loras[:20]) or "no files"
            raise GridError(f"LoRA {name[:60]!r} is not in the folder, which has {listed}.")
        number = numbers(weight, f"Weight of LoRA {name}", whole=False, step=Decimal(1))[0]
        use = LoraUse(name, _weight(name, number))
        values.append((name if use.weight == 1 else f"{name} {use.weight:g}", partial(replace, loras=(use,))))
    return _axis(id, values, ["loras"], turn=-1)


# ---- parts of the prompt -------------------------------------------------------------------------------------------


def _part(id: str, text: str, request: GenerateRequest, known: Known) -> Axis:
    """The values of one field; the rest of the prompt stays, character for character."""
    if not any(offer.id == id for offer in _parts(request.prompt, known)):
        raise GridError(f"The prompt has no part {id[:60]!r} now. Choose another axis, or unmute its card.")
    label = axis_label(id)
    found = texts(text, label)
    for value in found:
        if has_markup(value):
            raise GridError(f"{label}: {value[:60]!r} holds an element, which no field can. Use the axis Prompt.")
    place = partial(_set_part, id=id, slots=known.slots)
    return _axis(id, [(value or "(empty)", partial(place, value=value)) for value in found], turn=1)


def _set_part(request: GenerateRequest, id: str, value: str, slots: tuple[int, ...]) -> GenerateRequest:
    kind, _, name = id.partition(":")
    prompt = request.prompt
    try:
        if kind == "character":
            number, _, name = name.partition(":")
            place = _place(number, slots, prompt)
            prompt = edit.update_character(prompt, place, {name: value})
        elif kind == "general":
            prompt = edit.update_general(prompt, {name: value})
        else:
            prompt = edit.set_extra(prompt, name, value)
    except UserError as error:
        raise GridError(str(error)) from error
    return replace(request, prompt=prompt)


def _place(number: str, slots: tuple[int, ...], prompt: str) -> int:
    """Where the character of this card stands in the text."""
    count = len(parse(prompt).characters)
    numbers_here = slots or tuple(range(1, count + 1))
    if not number.isdecimal() or int(number) not in numbers_here[:count]:
        raise GridError(f"There is no character {number[:8]} in the prompt. Choose another axis, or unmute its card.")
    return numbers_here.index(int(number))


def _replacements(id: str, text: str, request: GenerateRequest, known: Known) -> Axis:
    """The first text is looked for and stays in the first picture; each other one takes its place."""
    found = words(text, "Text")
    if not found[0]:
        raise GridError(
            "Text begins with nothing to look for. Write first what stands in the prompt: blue_hair, red_hair."
        )
    change = partial(_replaced, search=found[0])
    return _axis(id, [(value or "(nothing)", partial(change, put=value)) for value in found], turn=2)


def _replaced(request: GenerateRequest, search: str, put: str) -> GenerateRequest:
    if search not in request.prompt and search not in request.negative_prompt:
        raise GridError(
            f"The prompt does not contain {search[:60]!r}. Write first a text that it holds, letter for letter."
        )
    return replace(
        request,
        prompt=request.prompt.replace(search, put),
        negative_prompt=request.negative_prompt.replace(search, put),
    )


Reader = Callable[[str, str, GenerateRequest, Known], Axis]
_WHOLE: Mapping[str, Reader] = MappingProxyType(
    {"size": _sizes, "replace": _replacements, "preset": _presets, "loras": _loras}
)
_PARTS: Mapping[str, Reader] = MappingProxyType(
    {"lora": _lora_weights, "character": _part, "general": _part, "extra": _part}
)
_PARAMETER_KINDS: Mapping[str, Reader] = MappingProxyType(
    {"int": _numbers, "float": _numbers, "choice": _choices, "text": _texts}
)
