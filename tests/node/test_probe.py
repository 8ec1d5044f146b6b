"""`eqmesh probe` on small trainings."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.numpy import load_file

from evaluator.build import rule_of, topology_of
from evaluator.probes.registry import PROBES, run_probe
from evaluator.probes.subject import Network, Samples
from evaluator.tasks import resolve
from genome import preset
from kernels import initial_parameters
from tests.node.conftest import ROOT, Eqmesh
from tests.support.genomes import runaway

SMOKE = ("--tier", "smoke")


@pytest.mark.usefixtures("answered_here")
def test_probes_are_listed_with_their_settings(eqmesh: Eqmesh) -> None:
    code, out, _ = eqmesh("probe", "--json")
    found = {one["name"]: one for one in json.loads(out)}
    assert (code, set(found)) == (0, set(PROBES))
    for name, one in found.items():
        assert one["description"] == PROBES[name].description
        assert [s["name"] for s in one["settings"]] == list(PROBES[name].settings.__struct_fields__)
    required = [s["name"] for s in found["scaling"]["settings"] if s["required"]]
    assert required == ["sizes", "errors"]
    code, out, _ = eqmesh("probe")
    assert code == 0
    assert all(name in out for name in PROBES)
    assert "epsilons=0.02,0.05,0.1,0.2,0.3" in out


def test_a_probe_sees_the_network_that_evaluate_trains(eqmesh: Eqmesh, tmp_path: Path) -> None:
    code, out, err = eqmesh(
        "evaluate", "--preset", "deep", *SMOKE, "--seed", "3", "--weights", "kept", "--json"
    )
    assert code == 0, err
    weights = json.loads(out)["weights"]
    code, out, err = eqmesh(
        *("probe", "alignment", "--preset", "deep", *SMOKE, "--seed", "3", "--set", "samples=8", "--json")
    )
    found = json.loads(out)
    assert code == 0, err
    task = resolve("digits")
    tier, values = task.tier("smoke"), dict(preset("deep").values)
    data = task.load().at(tier)
    network = Network(
        topology_of(values, inputs=task.inputs, classes=task.classes),
        load_file(tmp_path / "kept" / f"{weights}.safetensors"),
        rule_of(values),
    )
    samples = Samples(data.validation_x, data.validation_y)
    # The rule's estimate and the exact gradient draw nothing: the seed of the probe does not matter.
    expected = run_probe("alignment", network, samples, hashlib.sha256(b"any").digest(), samples=8)
    assert found["result"]["cosines"] == pytest.approx(expected.cosines, abs=1e-9)  # type: ignore[attr-defined]
    assert found["settings"] == {"samples": 8, "least": 0.9, "estimate": "rule"}
    assert (
        found["probe"],
        found["genome"],
        found["task"],
        found["tier"],
        found["seed"],
        found["trained"],
    ) == (*("alignment", preset("deep").id, "digits", "smoke", 3, True),)


@pytest.mark.usefixtures("answered_here")
def test_an_untrained_network_is_the_one_that_training_starts_from(eqmesh: Eqmesh) -> None:
    from evaluator.jobs import stream_key
    from evaluator.tasks import task_id

    arguments = ("probe", "difficulty", "--preset", "deep", *SMOKE, "--untrained", "--json")
    code, out, err = eqmesh(*arguments)
    found = json.loads(out)
    assert (code, found["trained"]) == (0, False), err
    task = resolve("digits")
    tier, genome = task.tier("smoke"), preset("deep")
    values, data = dict(genome.values), task.load().at(tier)
    topology = topology_of(values, inputs=task.inputs, classes=task.classes)
    key = stream_key(genome.id, task_id(task, tier), 0)
    network = Network(topology, initial_parameters(topology, seed=key, gain=0.5), rule_of(values))
    samples = Samples(data.validation_x, data.validation_y)
    expected = run_probe("difficulty", network, samples, bytes(32))
    assert found["result"]["quarters"] == pytest.approx(expected.quarters)  # type: ignore[attr-defined]
    assert json.loads(eqmesh(*arguments)[1]) == found


@pytest.mark.usefixtures("answered_here")
@pytest.mark.parametrize("name", ["sparse", "cube", "conv"])
def test_networks_of_the_family_are_probed_as_they_were_trained(eqmesh: Eqmesh, name: str) -> None:
    settings = ("--set", "samples=40", "--set", "draws=2", "--set", "damage=0,1", "--set", "weights=0")
    code, out, err = eqmesh("probe", "tolerance", "--preset", name, *SMOKE, *settings, "--json")
    found = json.loads(out)
    assert (code, found["genome"]) == (0, preset(name).id), err
    unharmed = found["result"]["unharmed"]["value"]
    # Two passes over 256 digits teach something, and without hidden units one class is named for all.
    assert found["result"]["weights"][0]["accuracy"]["value"] == pytest.approx(unharmed)
    assert unharmed > found["result"]["damage"][1]["accuracy"]["value"]
    code, out, _ = eqmesh("probe", "energy", "--preset", name, *SMOKE, "--json")
    assert code == 0
    assert json.loads(out)["settings"]["batch"] == preset(name)["batch"]


@pytest.mark.usefixtures("answered_here")
def test_energy_counts_the_training_that_was(eqmesh: Eqmesh) -> None:
    code, out, _ = eqmesh("probe", "energy", "--preset", "ep", *SMOKE, "--set", "optimizer=adam", "--json")
    found = json.loads(out)["settings"]
    assert code == 0
    assert (found["batch"], found["optimizer"], found["free_steps"], found["nudged_steps"]) == (
        128,
        "adam",
        4,
        2,
    )


@pytest.mark.usefixtures("answered_here")
def test_a_table_has_figures_intervals_and_lists_of_structs(eqmesh: Eqmesh) -> None:
    code, out, _ = eqmesh("probe", "signal", "--preset", "deep", "--untrained", *SMOKE)
    lines = [line.split() for line in out.splitlines()]
    assert code == 0
    assert ["figure", "value"] in lines
    assert ["ladder"] in lines
    assert ["depth", "bare", "skipped", "error"] in lines
    (first,) = [line for line in out.splitlines() if line.startswith("first ")]
    assert first.count(",") == 1 and "[" in first
    assert ["arrives", "yes"] in lines


@pytest.mark.usefixtures("answered_here")
def test_lists_of_numbers_are_given_with_commas(eqmesh: Eqmesh) -> None:
    points = ("--set", "sizes=1,2,4,8,16", "--set", "errors=.5,.35,.25,.18,.125")
    code, out, err = eqmesh(
        "probe", "scaling", "--preset", "shallow", "--untrained", *SMOKE, *points, "--json"
    )
    found = json.loads(out)["result"]
    assert (code, found["points"], found["verdict"]) == (0, 5, "power law"), err
    assert found["exponent"]["value"] == pytest.approx(0.5, abs=0.02)


@pytest.mark.usefixtures("answered_here")
def test_a_training_that_diverges_has_an_exit_code_of_its_own(eqmesh: Eqmesh, tmp_path: Path) -> None:
    (tmp_path / "runaway.json").write_text(json.dumps(runaway().as_json()), encoding="utf-8")
    code, out, err = eqmesh("probe", "signal", "runaway.json", *SMOKE, "--json")
    assert code == 3
    assert json.loads(out)["failure"]["kind"] == "diverged"
    assert "diverged" in err


@pytest.mark.usefixtures("answered_here")
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--preset", "shallow"), "name of a probe"),
        (("signal",), "--preset"),
        (("sgnal", "--preset", "shallow"), "'signal'"),
        (("signal", "--preset", "shallow", "--set", "sample=3"), "'samples'"),
        (("signal", "--preset", "shallow", "--set", "samples"), "key=value"),
        (("signal", "--preset", "shallow", "--set", "sweeps=1", "--set", "sweeps=2"), "once"),
        (("signal", "--preset", "shallow", "--set", "samples=x"), "`int`"),
        (("signal", "--preset", "shallow", "--set", "samples=1"), "2 samples"),
        (("scaling", "--preset", "shallow"), "sizes"),
        (("signal", "--preset", "backprop"), "credit=ep"),
        (("signal", "--preset", "sparse"), "closed form"),
        (("lyapunov", "--preset", "predictive-coding"), "one pass"),
        (("signal", "--preset", "shallow", "--seed", "-1"), "--seed"),
        (("signal", "--preset", "shallow", "--tier", "smok"), "'smoke'"),
    ],
)
def test_bad_input_is_told_what_to_do_before_anything_is_trained(
    eqmesh: Eqmesh, arguments: tuple[str, ...], said: str
) -> None:
    code, out, err = eqmesh("probe", *arguments)
    assert (code, out) == (1, "")
    assert said in err
    assert "accuracy" not in err  # what a training says of itself
    assert "Traceback" not in err


def test_a_probe_never_loads_torch_in_the_process_of_the_command(tmp_path: Path) -> None:
    program = (
        "import sys\nfrom node.cli import main\n"
        "try:\n    main(['probe', 'signal', '--preset', 'shallow', '--tier', 'smoke', '--untrained'])\n"
        "except SystemExit as end:\n    assert end.code == 0\n"
        "print({'torch', 'triton', 'cupy'} & set(sys.modules))"
    )
    environment = {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "EQMESH_STATE_DIR": str(tmp_path)}
    found = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.stdout.splitlines()[-1] == "set()"
