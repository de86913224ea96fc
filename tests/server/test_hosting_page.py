"""What docs/hosting.md says of limits and addresses is what the code does."""

from pathlib import Path

import pytest

from newbie_ui.server.guard import OWN_ROUTES
from newbie_ui.server.options import ServerOptions
from newbie_ui.ui import mount
from newbie_ui.ui.shelf import MAX_ZIP

PAGE = (Path(__file__).parents[2] / "docs" / "hosting.md").read_text("utf-8")
OPTIONS = ServerOptions()


@pytest.mark.parametrize(
    "line",
    [
        f"| form, prompt, call | {OPTIONS.json_limit / 1e6:g} MB a request |",
        f"| upload | {OPTIONS.file_limit / 1e6:g} MB a file, {OPTIONS.upload_limit / 1e6:g} MB a request;",
        f"| import into the gallery | one file a request, {OPTIONS.file_limit / 1e6:g} MB |",
        f"| zip | {MAX_ZIP} pictures",
        f"| calls waiting in the page | {mount.MAX_WAITING} |",
        f"| {OPTIONS.requests_burst} at once, then {OPTIONS.requests_s:g} a second |",
        f"| open sessions | {mount.MAX_SESSIONS};",
        f"| temporary files | one hour, {OPTIONS.temp_quota / 1e6:g} MB |",
    ],
)
def test_limits_are_documented_as_they_are(line):
    assert line in PAGE


def test_an_hour_is_an_hour():
    assert OPTIONS.temp_age_s == 3600


@pytest.mark.parametrize("address", ["/health", "/ready"])
def test_documented_addresses_exist(address):
    assert f"`{address}`" in PAGE
    assert OWN_ROUTES.match(address)
