"""Who may do what: on a page that strangers use, what changes other people's pictures or shows this machine is off.

There are no accounts. A page is shared when it runs as a hosted Space or through a public tunnel; on a home network
everyone who reaches it is treated as its owner.
"""

from __future__ import annotations

import ipaddress
import os
from typing import Any


def is_hosted() -> bool:
    """True on a hosted Space."""
    return bool(os.environ.get("SPACE_ID"))


def is_shared(settings: Any) -> bool:
    """True if strangers may use the page. `settings` is a `newbie_ui.settings.Settings` or None."""
    return is_hosted() or bool(getattr(settings, "share", False))


def client_of(request: Any) -> str:
    """A name for whoever sends this `gr.Request`, for turns and caps in the engine's queue.

    The address, as the server's guard found it. Through a tunnel or on the machine itself everyone has the same one;
    there the browser tab's session is added, which its owner can change, so it is fairness and no barrier.
    """
    if request is None or getattr(request, "client", None) is None:
        return ""
    host = request.client.host
    try:
        local = ipaddress.ip_address(host).is_loopback
    except ValueError:
        local = True
    return f"{host}/{request.session_hash or ''}" if local else host
