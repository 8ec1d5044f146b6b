"""The process that answers for a probe: what it understands, what it refuses, and how it may end."""

import subprocess

import msgspec
import pytest

from evaluator import prober
from evaluator.errors import EvaluatorError
from evaluator.inquiry import Check, Checked, Found, Listed, Listing, Probing, Trained, ask
from evaluator.oneshot import Refused, answer_of
from evaluator.prober import answer, parse
from evaluator.probes.registry import PROBES
from genome import Genome, preset


def check(probe: str = "signal", genome: Genome | None = None, **changes: object) -> Check:
    found = Check(
        probe=probe,
        settings={},
        genome=(genome or preset("shallow")).canonical(),
        task="digits",
        tier="smoke",
        seed=0,
    )
    return msgspec.structs.replace(found, **changes)


@pytest.mark.parametrize(
    ("probe", "name", "text", "value"),
    [
        ("signal", "samples", "3", 3),
        ("signal", "gain", "null", None),
        ("signal", "gain", ".5", 0.5),
        ("signal", "gain", "inf", "inf"),
        ("signal", "depths", "10,20", [10, 20]),
        ("signal", "depths", "10", [10]),
        ("signal", "depths", "[10, 20]", [10, 20]),
        ("alignment", "estimate", "flipped", "flipped"),
        ("alignment", "estimate", '"flipped"', "flipped"),
    ],
)
def test_a_text_becomes_the_value_that_people_mean(probe: str, name: str, text: str, value: object) -> None:
    assert parse(probe, {name: text}, PROBES[probe].settings) == {name: value}


def test_every_probe_can_be_asked_about() -> None:
    listed = answer(Listing())
    assert isinstance(listed, Listed)
    assert [one.name for one in listed.probes] == list(PROBES)
    for one in listed.probes:
        needed = {setting.name: "1,2" for setting in one.settings if setting.required}
        assert answer(check(one.name, settings=needed)) == Checked()


@pytest.mark.parametrize(
    ("question", "said"),
    [
        (check("sgnal"), "'signal'"),
        (check("nothing at all"), "There are alignment"),
        (check(settings={"swep": "1"}), "'sweeps'"),
        (check(settings={"gain": "inf"}), "`float | null`"),
        (check(settings={"sweeps": "0"}), "1 sweep"),
        (check("scaling"), "`sizes`"),
        (check(genome=preset("backprop")), "credit=ep"),
        (check(task="zdt1", tier="full"), "networks"),
        (check(genome=Genome("mine/1", {**dict(preset("shallow").values), "twist": 2})), "also has twist"),
    ],
)
def test_what_cannot_be_asked_is_refused_in_words(question: Check, said: str) -> None:
    refused = answer(question)
    assert isinstance(refused, Refused)
    assert said in refused.detail


def test_what_an_energy_is_counted_for_comes_from_genome_and_training_unless_it_is_given() -> None:
    values, trained = dict(preset("deep").values), Trained(file="", free_steps=2.5, nudged_steps=1.0)
    assert prober._of_the_training("energy", values, trained) == {
        "batch": 512,
        "optimizer": "muon",
        "ns_steps": 3,
        "free_steps": 2.5,
        "nudged_steps": 1.0,
    }
    assert "free_steps" not in prober._of_the_training("energy", values, None)
    assert prober._of_the_training("signal", values, trained) == {}
    found = answer(Probing(check=check("energy", settings={"batch": "7"}), trained=None))
    assert isinstance(found, Found)
    assert (found.settings["batch"], found.settings["optimizer"]) == (7, "adam")


def test_chance_is_drawn_from_the_seed_the_genome_and_the_probe() -> None:
    def chains(**changes: object) -> object:
        found = answer(Probing(check=check(settings={"depths": "2"}, **changes), trained=None))
        assert isinstance(found, Found)
        return found.result["first"]

    assert chains() == chains()
    assert chains() != chains(seed=1)


async def test_the_process_answers_as_the_function_does() -> None:
    asked = await ask(Listing(), memory_bytes=2**31, nice=0, deadline_s=60)
    assert msgspec.json.encode(asked) == msgspec.json.encode(answer(Listing()))
    with pytest.raises(EvaluatorError, match="'signal'"):
        await ask(check("sgnal"), memory_bytes=2**31, nice=0, deadline_s=60)


def test_a_process_that_ends_without_an_answer_is_told_of() -> None:
    done = subprocess.CompletedProcess([], 7, stdout=b"\x81", stderr=b"hello\nfarewell\n")
    with pytest.raises(EvaluatorError, match="exit status 7: farewell"):
        answer_of(done, Listed)


def test_too_little_memory_is_a_refusal_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    def greedy() -> Listed:
        raise MemoryError

    monkeypatch.setattr(prober, "_listed", greedy)
    refused = answer(Listing())
    assert isinstance(refused, Refused)
    assert "worker_memory" in refused.detail


async def test_a_process_is_held_to_its_memory() -> None:
    # Which of the libraries that it loads meets the limit first, and how, is chance.
    with pytest.raises(EvaluatorError, match=r"worker_memory|exit status"):
        await ask(Listing(), memory_bytes=1, nice=0, deadline_s=60)


async def test_a_process_that_takes_too_long_is_ended() -> None:
    with pytest.raises(EvaluatorError, match="fewer samples"):
        await ask(Listing(), memory_bytes=2**31, nice=0, deadline_s=0)
