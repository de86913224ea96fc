"""Our own widgets: a `gr.HTML` whose content is built by a function in `static/*.js`.

A widget's value is plain data (dict, list, text). It never passes through a Gradio template: the template is a fixed
empty element, and the script builds the content with text nodes, so that nothing that a person typed is ever read
as HTML. A script registers itself with `nb.define(name, function (w) {...})`, where `w` has:

    w.element             the empty element to fill
    w.props.value         the value; assigning it makes it the input of handlers
    w.watch("value", fn)  called when a handler has put out a new value
    w.trigger(event, data)  raises one of the widget's events; `data` arrives as `gr.EventData`
    w.server.fn(argument) calls a Python function of `server_functions`; returns a promise
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import gradio as gr

# How the page's own events are bound. They are answered directly: Gradio's queue sends answers over a stream that it
# closes after the last one, and an event that comes just then is made but never answered (docs/page.md). None of them
# does more than a moment's work; what takes long is the engine's, which has a queue of its own.
DIRECT: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden", "queue": False}


def widget(
    name: str,
    value: Any = None,
    *,
    events: Sequence[str] = (),
    server_functions: Sequence[Callable] = (),
    **options: Any,
) -> gr.HTML:
    """Make the widget that `nb.define(name, …)` draws. `events` become methods: `w.restore(handler, …)`."""
    quoted = " ".join(f"'{event}'" for event in events)
    return gr.HTML(
        value=value,
        html_template=f'<div class="nb-w nb-w-{name}"></div>',
        js_on_load=(
            f"nb.mount('{name}', {{element: element.firstElementChild, props, trigger, watch, server, upload}}); "
            f"/* events: {quoted} */"
        ),
        apply_default_css=False,
        padding=False,
        server_functions=[_plain(fn) for fn in server_functions] or None,
        **options,
    )


def _plain(fn: Callable) -> Callable:
    """Gradio marks a server function with an attribute, which a bound method cannot carry."""

    @functools.wraps(fn)
    def call(*arguments: Any) -> Any:
        return fn(*arguments)

    return call
