import json
import os
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genome import MLP, OPERATORS, Birth, Genome, GenomeError, SearchSpace, preset, replay
from tests.genome.drawing import genomes_of, spaces

EP, DEEP = preset("ep"), preset("deep")
ID = "0" * 64
ELSEWHERE = """
import json, random, sys
import genome
from genome import MLP, Birth, preset, replay, make_strategy, Record
a, b = preset("ep"), preset("deep")
known = {a.id: a, b.id: b}
births = [("random/1", ()), ("mutate/1", (a.id,)), ("cross/1", (a.id, b.id)), ("preset/smep", ())]
print(json.dumps([replay(Birth(p, o, s), MLP, known).id for o, p in births for s in range(20)]))
strategy = make_strategy("nsga2", MLP, {"x": "max", "y": "min"}, population=4)
for ask in range(12):
    asked = strategy.ask(random.Random(ask), 2)
    strategy.tell([Record(p.genome, {"x": float(int(p.genome.id[:4], 16)), "y": float(ask)}, ask) for p in asked])
print(json.dumps([p.genome.id for p in strategy.ask(random.Random(99), 5)]))
"""


@given(st.data(), st.integers(0, 2**63 - 1))
@settings(max_examples=50)
def test_births_replay_to_the_same_child(data: st.DataObject, seed: int) -> None:
    space = data.draw(spaces())
    first, second = data.draw(genomes_of(space)), data.draw(genomes_of(space))
    births = [Birth((), "random/1", seed), Birth((first.id,), "mutate/1", seed)]
    if first != second:
        births.append(Birth((first.id, second.id), "cross/1", seed))
    known = {first.id: first, second.id: second}
    for birth in births:
        child = replay(birth, space, known)
        # Through bytes, as a stranger would have the parents.
        carried = {id_: Genome.decode(parent.canonical()) for id_, parent in known.items()}
        assert replay(birth, space, carried) == child


def test_births_and_proposals_are_the_same_in_other_processes() -> None:
    answers = set()
    for hash_seed in ("0", "1", "4242"):
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
        done = subprocess.run(
            [sys.executable, "-c", ELSEWHERE], env=environment, capture_output=True, text=True, check=True
        )
        answers.add(done.stdout)
    assert len(answers) == 1
    here = [
        replay(Birth(parents, operator, seed), MLP, {EP.id: EP, DEEP.id: DEEP}).id
        for operator, parents in (
            ("random/1", ()),
            ("mutate/1", (EP.id,)),
            ("cross/1", (EP.id, DEEP.id)),
            ("preset/smep", ()),
        )
        for seed in range(20)
    ]
    assert json.loads(answers.pop().splitlines()[0]) == here


def test_seeds_matter() -> None:
    known = {EP.id: EP, DEEP.id: DEEP}
    for operator, parents in (("random/1", ()), ("mutate/1", (EP.id,)), ("cross/1", (EP.id, DEEP.id))):
        children = {replay(Birth(parents, operator, seed), MLP, known).id for seed in range(50)}
        assert len(children) > 40


def test_the_order_of_parents_matters() -> None:
    backprop = preset("backprop")
    known = {EP.id: EP, backprop.id: backprop}
    assert replay(Birth((EP.id, backprop.id), "cross/1", 1), MLP, known)["credit"] == "ep"
    assert replay(Birth((backprop.id, EP.id), "cross/1", 1), MLP, known)["credit"] == "backprop"


def test_imports_cannot_be_replayed() -> None:
    with pytest.raises(GenomeError, match=r"has no birth to replay\. Take its recorded values"):
        replay(Birth((), "import/1", 0), MLP, {})


def test_parents_must_be_given_under_their_own_ids_and_fit_the_space() -> None:
    birth = Birth((EP.id,), "mutate/1", 0)
    with pytest.raises(GenomeError, match=f"needs its parent {EP.id}"):
        replay(birth, MLP, {})
    with pytest.raises(GenomeError, match=f"has the id {DEEP.id}"):
        replay(birth, MLP, {EP.id: DEEP})
    with pytest.raises(GenomeError, match="got a genome of space 'mlp/1'"):
        replay(birth, SearchSpace("other", 1, MLP.genes), {EP.id: EP})
    with pytest.raises(GenomeError, match="gives a genome of another space"):
        replay(Birth((), "preset/ep", 0), SearchSpace("other", 1, MLP.genes), {})
    with pytest.raises(GenomeError, match="a preset expects one of"):
        replay(Birth((), "preset/nothing", 0), MLP, {})


@pytest.mark.parametrize(
    ("parents", "operator", "seed", "text"),
    [
        ((), "randm/1", 0, r"an operator of random/1.*Did you mean 'random/1'\?"),
        ((), "random/2", 0, "an operator of"),
        ((), "preset/", 0, "an operator of"),
        ((), "preset/A b", 0, "an operator of"),
        ((), None, 0, "an operator of"),
        ((ID,), "random/1", 0, "expects 0 different parents, got 1"),
        ((), "mutate/1", 0, "expects 1 different parents, got 0"),
        ((ID,), "cross/1", 0, "expects 2 different parents, got 1"),
        ((ID, ID), "cross/1", 0, "got 2 of which 1 differ"),
        ((ID, "1" * 64, "2" * 64), "cross/1", 0, "got 3"),
        ((ID,), "preset/ep", 0, "expects 0"),
        ((ID.upper().replace("0", "A"),), "mutate/1", 0, "64 small hexadecimal"),
        (("0" * 63,), "mutate/1", 0, "64 small hexadecimal"),
        ((7,), "mutate/1", 0, "64 small hexadecimal"),
        ((), "random/1", -1, "a seed from 0"),
        ((), "random/1", 2**63, "a seed from 0"),
        ((), "random/1", True, "a seed from 0"),
        ((), "random/1", 0.5, "a seed from 0"),
    ],
)
def test_births_that_make_no_sense_are_refused(parents: Any, operator: Any, seed: Any, text: str) -> None:
    with pytest.raises(GenomeError, match=text):
        Birth(parents, operator, seed)


def test_operators_are_described() -> None:
    assert set(OPERATORS) == {"random/1", "mutate/1", "cross/1", "preset/NAME", "import/1"}
    assert Birth([ID], "mutate/1", 2**63 - 1).parents == (ID,)  # type: ignore[arg-type]
