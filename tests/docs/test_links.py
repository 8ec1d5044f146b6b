"""Links between pages and to files of the repository lead somewhere."""

import re

import pytest

from tests.docs.pages import PAGES, ROOT, prose

LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


def anchors(text: str) -> set[str]:
    """Anchors that the headings of a page make, as code hosts form them."""
    headings = re.findall(r"^#+ (.+)$", prose(text), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", [*PAGES, "CHANGELOG.md"])
def test_every_link_of_a_page_resolves(page):
    path = ROOT / page
    for target in LINK.findall(prose(path.read_text(encoding="utf-8"))):
        if target.startswith(("https://", "mailto:")):
            continue
        assert not target.startswith("http:"), target
        name, _, anchor = target.partition("#")
        file = (path.parent / name) if name else path
        assert file.resolve().is_relative_to(ROOT), target
        assert file.exists(), target
        if anchor:
            assert anchor in anchors(file.read_text(encoding="utf-8")), target


@pytest.mark.parametrize("page", PAGES)
def test_every_file_that_a_page_names_exists(page):
    roots = "kernels|genome|evaluator|node|bootstrap|dashboard|tests|docs"
    for name in re.findall(rf"`((?:{roots})/[\w./-]+)`", prose(PAGES[page])):
        assert (ROOT / name).exists(), name


def test_pages_say_nothing_of_one_machine():
    for page, text in PAGES.items():
        assert not re.search(r"/work/|/root/|/home/\w|/tmp/", text), page
