"""What the Create tab does: handlers that take and return plain values. Knows engine, board and gallery, not Gradio's
components, so that each can be called and tested without a page.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from functools import cached_property
from typing import Any

from newbie_ui.engine.base import Engine, EngineStatus
from newbie_ui.errors import NewbieError, PictureError, RequestError, UserError
from newbie_ui.gallery import recipe
from newbie_ui.gallery.record import Record
from newbie_ui.prompt.budget import POSSIBLE, TRAINED
from newbie_ui.prompt.complete import complete
from newbie_ui.prompt.tags import Vocabulary, builtin, own_lists
from newbie_ui.request import DEFAULT_SYSTEM_PROMPT, MAX_PROMPT_CHARS, PARAMETERS, GenerateRequest
from newbie_ui.ui import bind, compose, notes, restore, views
from newbie_ui.ui.board import Board
from newbie_ui.ui.restore import Restored
from newbie_ui.ui.shelf import Query, Shelf

log = logging.getLogger(__name__)
FOLLOW_EVERY_S = 0.08
IDLE_S = 0.6  # a page stays with the board this long after the last job, for the one that is just being queued
JUST_NOW_S = 5.0  # a job that ended this long ago is still news: short ones end before a page can follow them
FALLBACK_SIZES = ((1024, 1024), (832, 1216), (1216, 832), (768, 1344), (1344, 768))
COMPLETIONS = 8
RECENT = 24
Value = dict[str, Any]


class Actions:
    """One per page. Handlers are safe to call from any thread and for any session."""

    def __init__(self, engine: Engine, pictures: Any, board: Board | None = None, tag_dir: str = ""):
        self.engine = engine
        self.shelf = None if pictures is None else Shelf(pictures)
        self.board = board or Board(engine)
        self._words: tuple[tuple[str, ...], Vocabulary] | None = None
        self._tag_dir = tag_dir

    # ---- what the widgets ask directly (server functions) --------------------------------------------------------

    def pulse(self, _message: Any = None) -> Value:
        """How things stand now, for the header and the queue list."""
        self.board.sync()
        return views.pulse(self.engine.status())

    def compose(self, message: Any) -> Value:
        """Make the editor's waiting edits; what the text now holds, costs, and what looks wrong in it."""
        model = self.engine.status().model
        vocabulary = model.vocabulary if model else ()
        made = compose.draft(message, vocabulary)
        system = message.get("system") if isinstance(message, Mapping) else None
        text = compose.effective(made)
        limits = (model.trained_tokens, model.max_tokens) if model else (TRAINED, POSSIBLE)
        tokens = notes.tokens(text, compose.slots(made), self._system(system), self.engine.count_tokens, *limits)
        for mark in ("trained_end", "possible_end"):  # shown in the XML view, which holds the muted cards too
            end = tokens[mark] if text == made.text else None
            tokens[mark] = None if end is None else compose.utf16(text, end)
        return {
            "text": made.text,
            "muted": made.muted,
            "negative": made.negative,
            "view": compose.view(made),
            "budget": tokens,
            "notes": notes.findings(made.text, text, vocabulary),
            "say": made.say,
            "undo": made.undo,
        }

    def complete(self, message: Any) -> Value:
        """Tags that the caret's word may become, for fields and XML view. Offsets as the browser counts them."""
        message = message if isinstance(message, Mapping) else {}
        text, caret = message.get("text"), message.get("caret")
        if not isinstance(text, str) or not isinstance(caret, int) or len(text) > 2 * MAX_PROMPT_CHARS:
            return {"items": []}
        found = complete(text, compose.characters(text, caret), COMPLETIONS, self._vocabulary())
        items = [views.completion(item) for item in found.items]
        start, end = compose.utf16(text, found.start), compose.utf16(text, found.end)
        return {"start": start, "end": end, "query": found.query, "items": items}

    def _vocabulary(self) -> Vocabulary:
        """The known tags, with those marked that the model in use knows."""
        model = self.engine.status().model
        names = model.vocabulary if model else ()
        if self._words is None or self._words[0] != names:
            self._words = (names, self._known_tags.with_model(names))
        return self._words[1]

    @cached_property
    def _known_tags(self) -> Vocabulary:
        """The list that ships and the artist's own."""
        if not self._tag_dir:
            return builtin()
        own = own_lists(self._tag_dir)
        for problem in own.problems:
            log.warning("tag list: %s", problem)
        return builtin().combined(own)

    def control(self, message: Any) -> None:
        """Stop, skip, finish or move a job."""
        message = message if isinstance(message, Mapping) else {}
        job, action = message.get("job"), message.get("action")
        if not isinstance(job, str) or len(job) > 200:
            return
        try:
            if action == "move" and isinstance(message.get("position"), int):
                self.engine.move(job, max(0, message["position"]))
            elif action in ("cancel", "skip", "finish"):
                getattr(self.engine, action)(job)
        except NewbieError as error:
            log.info("job %s: %s refused: %s", job, action, error)

    # ---- generate and follow -----------------------------------------------------------------------------------

    def request(
        self, editor: Any, size: Any, seed: Any, dock: Any, preset: Any, lora: Any, knobs: Mapping[str, Any]
    ) -> GenerateRequest:
        """A checked request from the values of all widgets. Raises RequestError."""
        made = compose.draft(editor)
        texts = {"prompt": compose.effective(made), "negative_prompt": made.negative or ""}
        images = dock.get("images") if isinstance(dock, Mapping) else 1
        chosen = preset.get("selected") if isinstance(preset, Mapping) else None
        return bind.request(texts, size, seed, images, chosen, lora, knobs)

    def submit(self, request: GenerateRequest, client: str) -> Value | None:
        """Queue it. None if that worked, else what to say and at which field."""
        return self.submit_all([request], client)[0]

    def submit_all(self, requests: Sequence[GenerateRequest], client: str) -> tuple[Value | None, list[str]]:
        """Queue all or none. What to say if that did not work, and the jobs' ids."""
        jobs: list[str] = []
        try:
            for request in requests:
                if not request.prompt.strip():
                    raise RequestError("prompt", "The prompt is empty. Fill in a character, or load the example.")
                jobs.append(self.board.submit(request, client))
        except UserError as error:
            for job in jobs:
                self.engine.cancel(job)
            return {"message": str(error), "field": getattr(error, "field", None)}, []
        return None, jobs

    async def follow(self) -> AsyncIterator[Value]:
        """What the middle column shows, each time it changes, until no job is left. No job's end is left out."""
        self.board.sync()
        long_ago = time.monotonic() - JUST_NOW_S
        told = {view.job for view in self.board.views() if view.ended and view.ended_at < long_ago}
        seen, idle = None, 0.0
        while idle < IDLE_S:
            known = self.board.views()
            active = any(not view.ended for view in known)
            for view in known:
                if view.ended and view.job not in told:
                    told.add(view.job)
                    yield {**views.stage(view, self._size_of(view.job)), "following": active}
            current = self.board.current()
            if current is not None and not current.ended and (current.job, current.version) != seen:
                seen = (current.job, current.version)
                yield views.stage(current, self._size_of(current.job))
            idle = 0.0 if active else idle + FOLLOW_EVERY_S
            await asyncio.sleep(FOLLOW_EVERY_S)

    def _size_of(self, job: str) -> Sequence[int]:
        status = self.engine.status()
        request = next((info.request for info in status.jobs if info.id == job), None)
        width, height = default_size(status)
        return (request.width or width, request.height or height) if request else (width, height)

    # ---- what stands in the widgets at first -------------------------------------------------------------------

    def sizes(self, status: EngineStatus, size: tuple[int, int] | None = None) -> Value:
        """For the size widget: the model's sizes, the chosen one, the limits of any other."""
        p = PARAMETERS["width"]
        width, height = size or default_size(status)
        return {
            "sizes": [list(s) for s in (status.model.sizes if status.model else FALLBACK_SIZES)],
            "width": width,
            "height": height,
            "limits": {"minimum": p.minimum, "maximum": p.maximum, "step": p.step},
            "model_key": f"{status.model.name} {status.model.hash}" if status.model else "",
        }

    def presets(self, size: Any = None, steps: Any = None, selected: str | None = None) -> Value:
        """For the preset list, with the times for this size and number of steps."""
        request = None
        try:
            size = size if isinstance(size, Mapping) else {}
            width, height = bind.whole("width", size.get("width")), bind.whole("height", size.get("height"))
            request = GenerateRequest(width=width, height=height, steps=bind.whole("steps", steps)).checked()
        except RequestError:
            log.debug("presets asked for an odd size or number of steps")
        return views.preset_list(self.engine.presets(request), self.engine.status(), selected)

    def begin(self, _message: Any = None) -> Value:
        """What a page shows when it opens: the newest picture with its cost, or nothing yet."""
        recent = self.recent()
        return {**self.shown(recent[0] if recent else None), "recent": recent}

    # ---- pictures ----------------------------------------------------------------------------------------------

    def recent(self, count: int = RECENT) -> list[str]:
        """Ids of the newest pictures."""
        return [item["id"] for item in self.shelf.list(Query(), 0, count)[1]] if self.shelf else []

    def record(self, picture: Any) -> Record | None:
        """A stored picture's own record; None for pictures of other programs. Raises PictureError if it is gone."""
        if self.shelf is None or not isinstance(picture, str) or len(picture) > 100:
            raise PictureError("This picture is no longer in the gallery.")
        return self.shelf.record(picture)

    def shown(self, picture: Any) -> Value:
        """A stored picture in the middle column."""
        try:
            record = self.record(picture)
            if record is not None:  # a sheet is shown in the box of its pictures: the box does not jump
                return views.finished(record)
            about = self.shelf.detail(picture)
            return {"state": "done", "picture": picture, "size": [about["width"], about["height"]]}
        except PictureError:
            return {"state": "empty", "picture": None, "default_size": list(default_size(self.engine.status()))}

    def recipe_of(self, picture: Any) -> Restored:
        """What a stored picture was made with. Raises PictureError if it is gone."""
        record = self.record(picture)
        if record is None:
            return restore.from_picture(self.shelf.file(picture))
        return Restored(record.form(), "Restored to the form.")

    def share(self, message: Any) -> str:
        """The query of a link to a stored picture's recipe; "" if the picture is gone."""
        try:
            return restore.link(self.recipe_of(_id(message)).values)
        except UserError:  # the picture is gone, or its recipe is too long for a link
            return ""

    def code(self, message: Any) -> str:
        """A script that makes a stored picture; "" if the picture is gone."""
        model = self.engine.status().model
        try:
            values = self.recipe_of(_id(message)).values
        except PictureError:
            return ""
        return recipe.as_python(values, model.source if model else "")

    def _system(self, text: Any) -> str:
        model = self.engine.status().model
        own = str(model.defaults.get("system_prompt") or DEFAULT_SYSTEM_PROMPT) if model else DEFAULT_SYSTEM_PROMPT
        return text[:4000] if isinstance(text, str) and text.strip() else own


def default_size(status: EngineStatus) -> tuple[int, int]:
    """The size a new picture has unless a person says otherwise."""
    model = status.model
    if model is None:
        return FALLBACK_SIZES[0]
    width, height = model.defaults.get("width"), model.defaults.get("height")
    return (int(width), int(height)) if width and height else model.sizes[0]


def _id(message: Any) -> Any:
    return message.get("id") if isinstance(message, Mapping) else None
