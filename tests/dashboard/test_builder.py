"""The builder: the space's own checks, text both ways, and that nothing pasted is ever run."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient

from evaluator.cost import cost_of
from evaluator.tasks import DatasetTask, resolve
from evaluator.tasks.registry import BUILT_IN
from genome import PRESETS, Choice, Genome, GenomeError, preset
from genome.spaces import SPACES
from genome.variation import draw
from node.store.board.snippets import MOST_CHARACTERS, as_json, as_python, genome_of_text, read_text
from node.store.board.spaces import SIZES, Size, check, space_cards, space_of
from tests.dashboard.conftest import axe

OpenPage = Callable[..., object]
DIGITS = SIZES["digits"]


def test_sizes_are_those_of_the_tasks() -> None:
    tasks = {name: resolve(name) for name in BUILT_IN}
    found = {
        name: Size(inputs=task.inputs, classes=task.classes, image=task.image, split=task.split_rule)
        for name, task in tasks.items()
        if isinstance(task, DatasetTask)
    }
    assert dict(SIZES) == found


def test_every_gene_of_every_space_has_a_card() -> None:
    assert [card.id for card in space_cards()] == [space.id for space in SPACES.values()]
    for card, space in zip(space_cards(), SPACES.values(), strict=True):
        assert space_of(card.id) is space_of(card.name) is space
        for gene, shown in zip(space.genes, card.genes, strict=True):
            assert (shown.name, shown.doc, shown.when, shown.levels) == (
                gene.name,
                gene.doc,
                str(gene.when),
                tuple(gene.table),
            )
            assert shown.doc
            if isinstance(gene, Choice):
                assert (shown.low, shown.high) == (None, None)
            else:
                assert (shown.low, shown.high) == (gene.low, gene.high)
    assert space_of("mine.spaces:SPACE") is None


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_is_that_genome_in_the_form_and_in_both_texts(name: str) -> None:
    genome = preset(name)
    space = space_of(genome.space)
    assert space is not None
    # JSON as a browser sends it: 1.0 comes as 1.
    sent = json.loads(json.dumps(dict(genome.values)).replace(".0,", ",").replace(".0}", "}"))
    found = check(space, sent, SIZES["mnist"], "fp32")
    assert (found.id, found.problems, found.filled) == (genome.id, (), ())
    assert genome_of_text(as_json(genome)) == genome_of_text(as_python(genome, space)) == genome
    if "credit" not in genome:
        assert (found.cost, found.layers) == (None, ())  # its task builds the network
        return
    cost = cost_of(dict(genome.values), inputs=784, classes=10, arithmetic="fp32", image=(1, 28, 28))
    assert found.cost is not None
    assert (found.cost.peak_bytes, found.cost.parameters) == (cost.peak_bytes, cost.shape.parameters)
    assert tuple(layer.units for layer in found.layers) == cost.shape.sizes
    assert {(edge.source, edge.target) for edge in found.edges} == set(cost.shape.connections)


@pytest.mark.parametrize("space", SPACES.values(), ids=lambda space: space.name)
def test_the_snippet_builds_the_identical_genome(space) -> None:  # type: ignore[no-untyped-def]
    for seed in range(6):
        genome = draw(space, seed=seed)
        names: dict[str, object] = {}
        exec(as_python(genome, space), names)  # noqa: S102 - our own text: it must be Python that builds the genome
        assert names["genome"] == genome


def test_every_problem_is_told_with_its_gene() -> None:
    values = {
        **dict(preset("deep").values),
        "lr_muon": 3.0,
        "width1": 12.5,
        "skip": "tow",
        "batch": None,
        "wdth2": 4,
    }
    found = check(SPACES["mlp"], values, DIGITS, "fp32")
    told = {problem.gene: problem.message for problem in found.problems}
    assert set(told) == {"lr_muon", "width1", "skip", "batch", ""}
    assert "gene 'lr_muon' must lie in [0.001, 0.1], got 3.0" in told["lr_muon"]
    assert "Did you mean 'two'" in told["skip"]
    assert "Did you mean 'width2'" in told[""]
    assert (found.id, found.layers, found.cost) == ("", (), None)


def test_a_gene_that_comes_into_play_takes_the_default_of_the_space() -> None:
    values = dict(preset("shallow").values)
    found = check(SPACES["mlp"], {**values, "depth": 2}, DIGITS, "fp32")
    repaired = SPACES["mlp"].repair({**values, "depth": 2})
    assert found.values == repaired
    assert set(found.filled) == set(repaired) - set(values) != set()
    assert found.id == SPACES["mlp"].genome(repaired).id


def test_what_cannot_be_trained_is_told_beside_the_genome() -> None:
    conv = dict(preset("conv").values)
    without = check(SPACES["conv"], conv, Size(inputs=64, classes=10), "fp32")
    assert without.id and "filters need a task" in without.problems[0].message
    exact = check(SPACES["mlp"], dict(preset("smep").values), DIGITS, "exact-1")
    assert exact.id and "exact-1 cannot train" in exact.problems[0].message
    huge = check(
        SPACES["mlp"], {**dict(preset("deep").values), "width1": 4096, "width2": 4096}, SIZES["mnist"], "fp32"
    )
    assert huge.cost is not None
    assert "may take at most" in huge.cost.refusal


@pytest.mark.parametrize(
    ("name", "count", "genes"),
    [
        ("deep", "depth", ("width1", "width2")),
        ("conv", "layers", ("channels1",)),
        ("cube", "", ()),
        ("looped", "", ()),
    ],
)
def test_layers_can_be_moved_where_genes_size_them(name: str, count: str, genes: tuple[str, ...]) -> None:
    genome = preset(name)
    found = check(space_of(genome.space), dict(genome.values), DIGITS, "fp32")  # type: ignore[arg-type]
    assert (found.stack.count if found.stack else "") == count
    if found.stack:
        assert tuple(layer.gene for layer in found.layers if layer.gene) == genes
        counted = space_of(genome.space).by_name[count]  # type: ignore[union-attr]
        assert (found.stack.low, found.stack.high) == (counted.low, len(found.stack.genes))  # type: ignore[union-attr]
        assert found.stack.high > found.stack.low
        assert set(found.stack.genes) <= set(space_of(genome.space).by_name)  # type: ignore[union-attr]


HOSTILE = [
    '__import__("os").mkdir("pwned")',
    'genome = SPACES["mlp"].genome({"credit": __import__("os").mkdir("pwned")})',
    'genome = SPACES[__import__("os").mkdir("pwned")].genome({})',
    'genome = SPACES["mlp"].genome(dict(credit="ep"))',
    'genome = SPACES["mlp"].genome({**vars()})',
    'genome = SPACES["mlp"].genome({f"{1}": 1})',
    'genome = SPACES["mlp"].genome({"batch": 8 ** 8 ** 8})',
    'genome = SPACES["mlp"].genome({"a": 1}); import os',
    'import os\ngenome = SPACES["mlp"].genome({})',
    "from os import system",
    "@print\ndef f(): pass",
    "[" * 20_000,
    "-" * 20_000 + "1",
    '{"space": "mlp/1", "genes": {"batch": 1e999}}',
    '{"space": "no/1", "genes": {}}',
    '{"space": "mlp/1", "genes": {}, "more": 1}',
    '{"a":' * 9_000,
    "",
    "\0",
    "x" * (MOST_CHARACTERS + 1),
]


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_nothing_that_is_pasted_is_run(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    found = read_text(text)
    assert found.problem
    assert (found.space, found.genes, list(tmp_path.iterdir())) == ("", {}, [])


@settings(max_examples=150, deadline=None)
@given(st.text(max_size=200) | st.text(alphabet="{}[]\"':,=()SPACES.genome mlp1+-*", max_size=80))
def test_any_text_is_a_genome_or_a_problem(text: str) -> None:
    found = read_text(text)
    assert bool(found.problem) != bool(found.space)


def test_a_text_that_states_another_id_is_refused() -> None:
    genome = preset("ep")
    text = as_python(genome, SPACES["mlp"]).replace(genome.id, "0" * 64)
    with pytest.raises(GenomeError, match="its genes have"):
        genome_of_text(text)
    assert genome_of_text(as_json(genome).replace(genome.id, genome.id)) == genome


# Over HTTP


def test_the_server_checks_and_writes_both_texts(client: TestClient) -> None:
    genome = preset("deep")
    answer = client.post(
        "/api/builder/check", json={"space": "mlp", "genes": dict(genome.values), "task": "mnist"}
    )
    told = answer.json()
    assert told["checked"]["id"] == genome.id
    assert told["json"].count("\n") > 5
    document = json.loads(told["json"])
    assert document.pop("genome") == Genome.from_json(document).id == genome.id
    again = client.post("/api/builder/read", json={"text": told["python"]}).json()
    assert (again["space"], again["problem"]) == ("mlp/1", "")
    # What a read gives back is what a check takes.
    third = client.post("/api/builder/check", json={"space": again["space"], "genes": again["genes"]}).json()
    assert third["checked"]["id"] == genome.id


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"nonsense", 400),
        (b'{"space": "mlp"}', 400),
        (b'{"space": "no", "genes": {}}', 404),
        (b'{"space": "mlp", "genes": {}, "task": "no"}', 400),
        (b'{"space": "mlp", "genes": {}, "arithmetic": "fp64"}', 400),
        (b'{"space": "mlp", "genes": {}, "size": {"inputs": 0, "classes": 10}}', 400),
        (b'{"space": "mlp", "genes": {"batch": ' + b"9" * 400 + b"}}", 200),
        (b'{"space": "mlp", "genes": {"batch": {"a": [1]}}}', 200),
    ],
)
def test_what_the_form_would_not_send_is_refused(client: TestClient, body: bytes, status: int) -> None:
    answer = client.post("/api/builder/check", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == status, answer.text
    if status == 200:
        assert {problem["gene"] for problem in answer.json()["checked"]["problems"]} == {"batch"}


def test_a_genome_of_the_store_can_be_built_on(client: TestClient, searched: Path) -> None:
    told = client.get("/api/genomes", params={"limit": 1}).json()["rows"][0]
    found = client.get(f"/api/builder/genome/{told['id'][:12]}").json()
    assert (found["space"], found["genes"]) == (told["space"], told["genes"])
    assert client.get("/api/builder/genome/00000000").status_code == 404
    assert client.get("/builder").status_code == 200


# In a browser: the page's policy forbids functions made of text, so what is waited for is looked at, not computed


@pytest.mark.browser
def test_layers_are_added_moved_and_removed_by_keys_and_text_goes_both_ways(open_page: OpenPage) -> None:
    from playwright.sync_api import expect

    shown = open_page("/builder?preset=deep")
    expect(shown.locator("#made-id")).to_have_text(preset("deep").id)
    assert shown.is_disabled("#submit")
    shown.focus("[data-layer='1']")
    shown.keyboard.press("ArrowUp")
    expect(shown.locator("#gene-width1")).to_have_value("768")
    shown.keyboard.press("Shift+ArrowRight")
    expect(shown.locator("#gene-width2")).to_have_value("768")
    expect(shown.locator("[data-layer='2']")).to_be_focused()
    shown.keyboard.press("+")
    expect(shown.locator("[data-layer]")).to_have_count(3)
    assert [shown.input_value(f"#gene-width{n}") for n in (1, 2, 3)] == ["512", "768", "768"]
    shown.keyboard.press("Delete")
    expect(shown.locator("[data-layer]")).to_have_count(2)
    expect(shown.locator("#gene-width3")).to_be_hidden()
    shown.fill("#gene-lr_muon", "3")
    expect(shown.locator("#gene-lr_muon-problem")).to_contain_text("must lie in")
    assert axe(shown) == []
    shown.fill("#source", as_python(preset("cube"), SPACES["cube"]))
    shown.click("text=Take this text")
    expect(shown.locator("#made-id")).to_have_text(preset("cube").id)
    shown.wait_for_selector("#lattice canvas")
    assert axe(shown) == []


@pytest.mark.browser
def test_a_layer_is_moved_by_dragging(open_page: OpenPage) -> None:
    from playwright.sync_api import expect

    shown = open_page("/builder?preset=deep", theme="contrast", width=1280)
    expect(shown.locator("#made-id")).to_have_text(preset("deep").id)
    shown.fill("#gene-width1", "64")
    expect(shown.locator("[data-layer='1'] text").first).to_have_text("64")
    box = shown.locator("[data-layer='1'] rect").bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    shown.mouse.move(x, y)
    shown.mouse.down()
    shown.mouse.move(x + 60, y)
    shown.mouse.move(x + 130, y)
    shown.mouse.up()
    expect(shown.locator("[data-layer='2'] text").first).to_have_text("64")
    expect(shown.locator("#gene-width1")).to_have_value("512")
