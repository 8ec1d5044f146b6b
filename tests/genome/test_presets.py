import pytest

from genome import MLP, PRESETS, GenomeError, preset, preset_birth, replay
from genome.presets import preset_operator
from genome.space import SearchSpace
from genome.spaces import SPACES

FAMILY_PRESETS = {
    "family/1": {
        "backprop-family",
        "holomorphic",
        "coupled",
        "contrastive-hebbian",
        "continual",
        "predictive-coding",
        "feedback-alignment",
        "kolen-pollack",
        "homeostatic",
        "sdmep",
        "sparse",
        "ternary",
        "looped",
    },
    "cube/1": {"cube"},
    "conv/1": {"conv", "conv-small", "conv-recipe"},
    "incremental/1": {"ndl", "cl", "ndl-ir", "cl-ir", "joint"},
}


def space_of(name: str) -> SearchSpace:
    return SPACES[preset(name).space.removesuffix("/1")]


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("task", [None, "digits", "fashion-mnist", "x" * 100])
def test_presets_are_genomes_of_their_space(name: str, task: str | None) -> None:
    space_of(name).check(preset(name, task))
    assert PRESETS[name].endswith(".")


def test_presets_differ() -> None:
    assert len({preset(name).id for name in PRESETS}) == len(PRESETS)


def test_presets_are_of_the_space_that_has_their_genes() -> None:
    found: dict[str, set[str]] = {}
    for name in PRESETS:
        found.setdefault(preset(name).space, set()).add(name)
    learned = {"ep", "muon", "smep", "shallow", "deep", "deep-capped"}
    plain = learned | {"backprop", "backprop-deep", "sgd", "adam", "adamw"}
    assert found == {MLP.id: plain, **FAMILY_PRESETS}


def test_the_baselines_have_the_shapes_of_what_they_are_held_against() -> None:
    pairs = (
        ("backprop", "shallow"),
        ("backprop-deep", "deep"),
        ("sgd", "ep"),
        ("adam", "ep"),
        ("adamw", "ep"),
    )
    for baseline, against in pairs:
        a, b = preset(baseline), preset(against)
        for name in ("depth", "width1", "width2", "skip", "output"):
            assert a.get(name) == b.get(name)
        assert (a["credit"], b["credit"]) == ("backprop", "ep")


def test_smep_differs_from_ep_in_optimizer_and_spectral_clipping_only() -> None:
    ep, smep = dict(preset("ep").values), dict(preset("smep").values)
    changed = {name for name in {*ep, *smep} if ep.get(name) != smep.get(name)}
    assert changed == {
        "optimizer",
        "lr_sgd",
        "lr_muon",
        "lr_bias",
        "momentum",
        "ns_steps",
        "spectral",
        "gamma",
    }


def test_muon_is_smep_without_the_cap() -> None:
    muon, smep = dict(preset("muon").values), dict(preset("smep").values)
    assert {**muon, "spectral": "clip", "gamma": 1.0} == smep


def test_deep_capped_is_deep_with_a_cap_and_fewer_sweeps() -> None:
    deep, capped = dict(preset("deep").values), dict(preset("deep-capped").values)
    changed = {name for name in {*deep, *capped} if deep.get(name) != capped.get(name)}
    assert changed == {"spectral", "gamma", "free_steps", "nudged_steps", "lr_muon"}


def test_a_task_may_have_numbers_of_its_own() -> None:
    assert preset("shallow", "fashion-mnist")["lr_adam"] == 0.002
    assert preset("shallow", "mnist") == preset("shallow")
    assert preset("shallow")["lr_adam"] == 0.004


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("task", [None, "digits", "fashion-mnist"])
def test_births_of_presets_replay(name: str, task: str | None) -> None:
    assert replay(preset_birth(name, task), space_of(name), {}) == preset(name, task)


def test_a_preset_is_not_born_in_another_space() -> None:
    with pytest.raises(GenomeError, match="another space than 'mlp/1'"):
        replay(preset_birth("coupled"), MLP, {})


def test_operators_name_the_task_only_where_it_matters() -> None:
    assert preset_operator("shallow", "fashion-mnist") == "preset/shallow@fashion-mnist"
    assert preset_operator("shallow", "mnist") == preset_operator("shallow") == "preset/shallow"


def test_an_unknown_preset_suggests_the_nearest() -> None:
    with pytest.raises(GenomeError, match=r"one of backprop, .*got 'shalow'. Did you mean 'shallow'\?"):
        preset("shalow")
