"""Each probe stands in its page with every setting, its default, and every field of its result."""

import re
from collections.abc import Iterator
from typing import get_args

import msgspec
import pytest

from evaluator.probes.registry import PROBES
from tests.docs.pages import PAGES, row, section

PAGE = PAGES["docs/probes.md"]


def fields(struct: type[msgspec.Struct]) -> Iterator[str]:
    """Names of the fields of a struct, and of the structs that they hold."""
    for field in msgspec.structs.fields(struct):
        yield field.name
        for inner in (field.type, *get_args(field.type)):
            if isinstance(inner, type) and issubclass(inner, msgspec.Struct):
                yield from fields(inner)


def plain(value: object) -> str:
    """A default as the page writes it."""
    if isinstance(value, tuple):
        return ", ".join(f"{one:g}" for one in value)
    return {None: "null"}.get(value) or (f"`{value}`" if isinstance(value, str) else f"{value:g}")  # type: ignore[str-format, arg-type]


def test_no_probe_is_described_that_does_not_exist() -> None:
    assert re.findall(r"^## `(\w+)`$", PAGE, flags=re.MULTILINE) == list(PROBES)


@pytest.mark.parametrize("name", PROBES)
def test_every_setting_of_a_probe_is_described_with_its_default(name: str) -> None:
    text = section(PAGE, f"## `{name}`")
    settings = msgspec.structs.fields(PROBES[name].settings)
    assert re.findall(r"^\| `(\w+)` \|", text, flags=re.MULTILINE) == [field.name for field in settings]
    for field in settings:
        shown = "required" if field.required else plain(field.default)
        assert row(text, field.name).split("|")[2].strip() == shown


@pytest.mark.parametrize("name", PROBES)
def test_every_field_of_what_a_probe_finds_is_described(name: str) -> None:
    _, _, told = section(PAGE, f"## `{name}`").partition("\nResult: ")
    for field in fields(PROBES[name].result):
        assert f"`{field}`" in told, field
