"""Genomes side by side: what the question answers, and what a browser makes of it."""

from pathlib import Path

import pytest

from node.store.records import Reader
from tests.dashboard.conftest import OpenPage, axe, make_client


@pytest.fixture(scope="module")
def ids(searched: Path) -> list[str]:
    """The genomes of the search, those with results first."""
    with Reader(searched) as reader:
        rows = reader.evaluations(run=reader.run().id)
    return list(
        dict.fromkeys([row.genome for row in rows if row.failure is None and row.purpose == "rescore"])
    )


def test_genes_say_whether_they_vary(searched: Path, ids: list[str]) -> None:
    with make_client(searched) as client, Reader(searched) as reader:
        told = client.get("/api/compare", params={"ids": ",".join(ids[:3])}).json()
        genomes = [reader.genome(one) for one in ids[:3]]
    assert [one["genome"] for one in told["genomes"]] == ids[:3]
    names = {name for genome in genomes for name in dict(genome.values)}
    assert {gene["name"] for gene in told["genes"]} == names
    for gene in told["genes"]:
        values = [dict(genome.values).get(gene["name"]) for genome in genomes]
        assert gene["values"] == values
        assert gene["varies"] == (len(set(values)) > 1)
    assert any(gene["varies"] for gene in told["genes"])


def test_objectives_are_over_fresh_seeds(searched: Path, ids: list[str]) -> None:
    with make_client(searched) as client, Reader(searched) as reader:
        told = client.get("/api/compare", params={"ids": ids[0]}).json()
        rows = reader.evaluations(run=reader.run().id)
    (one,) = told["genomes"]
    fresh = [row for row in rows if row.genome == ids[0] and row.purpose == "rescore" and row.failure is None]
    assert one["fresh"] is True
    assert one["objectives"]["accuracy"]["n"] == len(fresh)
    assert one["objectives"]["accuracy"]["mean"] == pytest.approx(
        sum(row.objectives["accuracy"] for row in fresh) / len(fresh)
    )
    curve = one["trials"][0]["curve"]
    assert len(curve["samples"]) == len(curve["accuracy"]) > 1


def test_first_digits_name_a_genome_and_twice_is_once(searched: Path, ids: list[str]) -> None:
    with make_client(searched) as client:
        told = client.get("/api/compare", params={"ids": f"{ids[0][:12]},{ids[0]}"}).json()
    assert [one["genome"] for one in told["genomes"]] == [ids[0]]


@pytest.mark.parametrize(("asked", "status"), [("000000000000", 404), (",".join(["a" * 12] * 9), 400)])
def test_what_cannot_be_compared_is_told(searched: Path, asked: str, status: int) -> None:
    with make_client(searched) as client:
        answer = client.get("/api/compare", params={"ids": asked})
    assert answer.status_code == status
    assert answer.json()["error"]


@pytest.mark.browser
@pytest.mark.parametrize(("theme", "width"), [("nord", 1280), ("neon", 360)])
def test_genomes_are_added_and_taken_out(open_page: OpenPage, ids: list[str], theme: str, width: int) -> None:
    page = open_page(f"/compare?ids={ids[0]}", theme=theme, width=width)
    page.wait_for_selector("#genomes table")
    page.locator("#more").fill(ids[1][:12])
    page.keyboard.press("Enter")
    page.locator("#genomes thead th").nth(1).wait_for()
    assert "genes vary" in page.locator("#sub").inner_text()
    page.wait_for_selector("#curves .uplot")
    assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
    assert axe(page) == []
    page.locator("#along [data-to=epoch]").click()
    assert "along=epoch" in page.url
    page.locator("#genomes .out").first.click()
    page.locator("#genomes thead th").nth(1).wait_for(state="detached")
    assert f"ids={ids[1]}" in page.url or f"ids={ids[1][:12]}" in page.url


@pytest.mark.browser
def test_nothing_chosen_says_how_to_choose(open_page: OpenPage) -> None:
    page = open_page("/compare")
    page.wait_for_selector("#genomes .empty")
    assert "Press c on one anywhere" in page.locator("#genomes").inner_text()
