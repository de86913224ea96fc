"""A browser for each file of tests, and a page of the file's own `site`."""

import pytest
from served import browsing, opened


@pytest.fixture(scope="module")
def browser():
    with browsing() as browser:
        yield browser


@pytest.fixture
def page(browser, site):
    with opened(browser, site[0]) as page:
        yield page
