import math
from collections.abc import Mapping
from typing import Any as Anything

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genome import MLP, AtLeast, Choice, Gene, Genome, GenomeError, Integer, Is, Real, SearchSpace, preset
from genome.conditions import All
from tests.genome.drawing import genomes_of, names, plain_values, spaces
from tests.genome.toys import ABSURD
from tests.support.calls import calls

SMALL = SearchSpace(
    "small",
    2,
    (
        Choice("kind", ("a", "b")),
        Real("rate", 0.1, 1.0, 4, "log", when=Is("kind", "a")),
        Integer("size", 1, 4, when=Is("kind", "b")),
        Real("extra", -1.0, 1.0, 3, when=AtLeast("size", 3)),
    ),
)


def test_expression_follows_the_conditions_in_order() -> None:
    assert SMALL.expressed({"kind": "a", "rate": 0.5}) == ("kind", "rate")
    assert SMALL.expressed({"kind": "b", "size": 3}) == ("kind", "size", "extra")
    assert SMALL.expressed({"kind": "b"}) == ("kind", "size")
    assert SMALL.express({"kind": "a", "rate": 0.5, "size": 4, "extra": 0.0}) == {"kind": "a", "rate": 0.5}


def test_a_gene_behind_an_unexpressed_one_is_unexpressed() -> None:
    # 'size' has the value that 'extra' asks for, but nothing reads 'size' here.
    assert "extra" not in SMALL.express({"kind": "a", "rate": 0.5, "size": 4, "extra": 0.0})


@given(st.data())
def test_an_unexpressed_gene_does_not_change_the_id(data: st.DataObject) -> None:
    space = data.draw(spaces())
    genome = data.draw(genomes_of(space))
    hidden = [gene for gene in space.genes if gene.name not in genome]
    loud = {gene.name: data.draw(st.sampled_from(gene.table)) for gene in hidden}
    assert space.genome({**dict(genome.values), **loud}).id == genome.id


def test_an_expressed_gene_does_change_the_id() -> None:
    base = {"kind": "b", "size": 3, "extra": 0.0}
    ids = {SMALL.genome(values).id for values in (base, {**base, "size": 4}, {**base, "extra": 0.5})}
    assert len(ids) == 3


def test_a_missing_expressed_gene_is_named_with_its_condition_and_bounds() -> None:
    with pytest.raises(
        GenomeError, match=r"'extra' is expressed here \(size >= 3\) .* lie in \[-1.0, 1.0\] .*'small/2'"
    ):
        SMALL.genome({"kind": "b", "size": 3})


def test_refusals_say_what_was_expected_what_came_and_what_to_do() -> None:
    with pytest.raises(
        GenomeError, match=r"gene 'lr_adam' must lie in \[0.0001, 0.03\], got 3.0. Give .*repair.*'mlp/1'"
    ):
        MLP.validate({"lr_adam": 3.0})
    with pytest.raises(GenomeError, match=r"'mlp/1' has no gene 'lr_adm'. Did you mean 'lr_adam'\?"):
        MLP.validate({"lr_adm": 0.004})
    with pytest.raises(GenomeError, match=r"no gene 'lr'. Did you mean 'lr_sgd'\?"):
        MLP.validate({"lr": 0.004})
    with pytest.raises(
        GenomeError, match=r"gene 'optimizer' must be one of 'adam', .*got 'adan'. Did you mean 'adam'\?"
    ):
        MLP.validate({"optimizer": "adan"})


@pytest.mark.parametrize("values", ABSURD, ids=lambda values: f"{next(iter(values))!s:.12}")
def test_absurd_values_are_refused_with_little_work(values: Mapping[Anything, object]) -> None:
    def refuse() -> None:
        with pytest.raises(GenomeError) as refusal:
            MLP.genome(values)
        assert len(str(refusal.value)) < 400

    assert calls(refuse) < 1000


@pytest.mark.parametrize("values", [None, 3, "width1", [("width1", 8)]])
def test_only_mappings_are_values(values: Anything) -> None:
    with pytest.raises(GenomeError, match="expects a mapping"):
        MLP.validate(values)


@given(st.dictionaries(st.one_of(names, st.sampled_from([*MLP.by_name])), plain_values, max_size=6))
def test_any_values_make_a_genome_of_the_space_or_raise_genome_error(values: dict[str, object]) -> None:
    try:
        genome = MLP.genome({**dict(preset("deep").values), **values})
    except GenomeError:
        return
    MLP.check(genome)


@given(st.data())
def test_check_accepts_what_the_space_makes(data: st.DataObject) -> None:
    space = data.draw(spaces())
    space.check(data.draw(genomes_of(space)))


def test_check_refuses_other_spaces_surplus_genes_and_other_types() -> None:
    with pytest.raises(GenomeError, match=r"'small/2' got a genome of space 'mlp/1'"):
        SMALL.check(preset("ep"))
    with pytest.raises(GenomeError, match="unexpressed genes size"):
        SMALL.check(Genome("small/2", {"kind": "a", "rate": 0.5, "size": 3}))
    with pytest.raises(GenomeError, match="another type"):
        SMALL.check(Genome("small/2", {"kind": "a", "rate": 1}))
    with pytest.raises(GenomeError, match="'rate' is expressed"):
        SMALL.check(Genome("small/2", {"kind": "a"}))


@given(st.data())
def test_repair_changes_nothing_lawful(data: st.DataObject) -> None:
    space = data.draw(spaces())
    genome = data.draw(genomes_of(space))
    assert space.genome(space.repair(dict(genome.values))) == genome


@given(st.data())
def test_repair_of_any_numbers_makes_a_genome(data: st.DataObject) -> None:
    space = data.draw(spaces())
    numbers = st.one_of(st.integers(), st.floats(allow_nan=False))
    values: dict[str, object] = {"no such gene": 1}
    for gene in space.genes:
        if data.draw(st.booleans()):
            values[gene.name] = data.draw(
                st.sampled_from(gene.table) if isinstance(gene, Choice) else numbers
            )
    space.check(space.genome(space.repair(values)))


def test_repair_clips_rounds_drops_and_fills() -> None:
    assert SMALL.repair({"kind": "a", "rate": 7, "size": 3}) == {"kind": "a", "rate": 1.0}
    assert SMALL.repair({"kind": "b", "size": 2.6}) == {"kind": "b", "size": 3, "extra": 0.0}
    assert SMALL.repair({}) == {"kind": "a", "rate": SMALL.by_name["rate"].table[2]}
    with pytest.raises(GenomeError, match=r"got nan. Nothing lawful.*'small/2'"):
        SMALL.repair({"kind": "a", "rate": math.nan})


ONE = (Choice("kind", ("a", "b")),)


@pytest.mark.parametrize(
    ("name", "version", "genes", "text"),
    [
        ("Mlp", 1, ONE, "name expects"),
        ("", 1, ONE, "name expects"),
        ("mlp", 0, ONE, "version from 1"),
        ("mlp", True, ONE, "version from 1"),
        ("mlp", "1", ONE, "version from 1"),
        ("mlp", 1, (), "1 to 256 genes"),
        ("mlp", 1, ONE * 2, "two genes named 'kind'"),
        ("mlp", 1, (*ONE, Real("x", 0.0, 1.0, 2, when=Is("kin", "a"))), "Did you mean 'kind'"),
        ("mlp", 1, (Real("x", 0.0, 1.0, 2, when=Is("kind", "a")), *ONE), "not declared before it"),
        ("mlp", 1, (*ONE, Real("x", 0.0, 1.0, 2, when=All(Is("kind", "c")))), "can never hold"),
        ("mlp", 1, (*ONE, Real("x", 0.0, 1.0, 2, when=AtLeast("kind", 2))), "is a Choice"),
    ],
)
def test_spaces_that_make_no_sense_are_refused(
    name: Anything, version: Anything, genes: Anything, text: str
) -> None:
    with pytest.raises(GenomeError, match=text):
        SearchSpace(name, version, genes)


def test_every_gene_of_the_mlp_space_is_documented_and_can_be_expressed() -> None:
    assert MLP.id == "mlp/1"
    assert all(gene.doc.endswith(".") for gene in MLP.genes)
    assert [gene.name for gene in MLP.genes if not gene.varied] == ["credit"]
    seen: set[str] = set()
    for credit, depth, output, estimate in (("ep", 3, "ce", "centred"), ("ep", 1, "mse", "centred")):
        for optimizer, scheme in (("adamw", "block"), ("sgd", "synchronous"), ("muon", "block")):
            choice: dict[str, object] = {
                "credit": credit,
                "depth": depth,
                "output": output,
                "estimate": estimate,
                "optimizer": optimizer,
                "scheme": scheme,
                "stop": "tolerance",
                "spectral": "clip",
            }
            seen |= set(MLP.repair(choice))
    assert seen == {gene.name for gene in MLP.genes}


def deep(**more: object) -> dict[str, object]:
    return {"credit": "ep", "depth": 1, "output": "ce", "estimate": "centred", **more}


@pytest.mark.parametrize(
    ("values", "expressed", "hidden"),
    [
        (
            deep(),
            {"clip", "beta_ce", "nudged_steps"},
            {"scheme", "free_steps", "gain", "width2", "beta_mse", "spectral"},
        ),
        (
            deep(output="mse"),
            {"scheme", "free_steps", "stop", "beta_mse"},
            {"gain", "beta_ce", "gamma", "tolerance"},
        ),
        (deep(depth=2), {"width2", "gain", "scheme", "free_steps", "order"}, {"width3", "step_size"}),
        (deep(depth=3, scheme="synchronous"), {"width3", "step_size"}, {"order"}),
        (deep(estimate="linearised"), {"nudged_steps"}, {"beta_ce", "beta_mse"}),
        (deep(estimate="linearised", output="mse"), {"free_steps"}, {"beta_ce", "beta_mse"}),
        (
            deep(credit="backprop", depth=2),
            {"gain", "width2"},
            {"clip", "estimate", "scheme", "nudged_steps", "spectral"},
        ),
        (deep(optimizer="adamw"), {"lr_adam", "weight_decay"}, {"momentum", "lr_sgd", "ns_steps", "lr_bias"}),
        (deep(optimizer="sgd"), {"lr_sgd", "momentum"}, {"lr_adam", "weight_decay", "lr_bias"}),
        (
            deep(optimizer="muon"),
            {"lr_muon", "lr_bias", "momentum", "ns_steps"},
            {"lr_adam", "lr_sgd", "weight_decay"},
        ),
    ],
)
def test_the_mlp_space_expresses_what_its_program_reads(
    values: dict[str, object], expressed: set[str], hidden: set[str]
) -> None:
    names = set(MLP.repair(values))
    assert expressed <= names
    assert not hidden & names


def test_build_asks_only_for_expressed_genes() -> None:
    asked: list[str] = []

    def pick(gene: Gene) -> str | float | int:
        asked.append(gene.name)
        return gene.table[0]

    SMALL.build(pick)
    assert asked == ["kind", "rate"]
