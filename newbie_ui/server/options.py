"""What the server must know, as plain values, so that it needs neither flags nor environment."""

from __future__ import annotations

import ipaddress
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

MEGABYTE = 1_000_000


@dataclass(frozen=True)
class ServerOptions:
    """How to serve. `shared` means that strangers may use the page: what changes others' pictures is then off."""

    host: str = "127.0.0.1"
    port: int = 7860
    root_path: str = ""  # full public URL when a proxy serves the page under a path
    hosted: bool = False  # a hosted Space: shown inside a frame of its site, one proxy in front
    share: bool = False  # a public tunnel
    mcp: bool = False
    proxy_hops: int = 0  # proxies in front whose X-Forwarded-For can be believed
    temp_dir: Path = field(default_factory=lambda: Path(tempfile.gettempdir()) / "newbie_ui")
    json_limit: int = 2 * MEGABYTE  # forms, prompts, API calls
    upload_limit: int = 64 * MEGABYTE  # one upload with all its files
    file_limit: int = 24 * MEGABYTE  # one file of it
    temp_quota: int = 500 * MEGABYTE
    temp_age_s: float = 3600.0
    requests_s: float = 20.0  # that one visitor of a hosted page may send in the long run
    requests_burst: int = 200  # and at once
    drain_s: float = 60.0  # how long a running picture may take to finish after SIGTERM

    @property
    def loopback(self) -> bool:
        """True if only this machine can reach the server."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host.strip("[]")).is_loopback
        except ValueError:
            return False

    @property
    def shared(self) -> bool:
        """True if people who do not own the machine may reach the page."""
        return self.hosted or self.share

    @property
    def hops(self) -> int:
        """Proxies to believe: a hosted Space has one in front of it."""
        return self.proxy_hops or int(self.hosted)

    @property
    def url(self) -> str:
        """Where to open the page on this machine."""
        host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(self.host, self.host)
        return f"http://{f'[{host}]' if ':' in host and not host.startswith('[') else host}:{self.port}"
