"""One network on the Triton kernels, against the learner of the CPU."""

import pytest
import torch

from tests.kernels.gpu.gates import child, needs_interpreter, needs_triton

CASES = ["learner", "diverges-ragged", "diverges-persistent"]


@needs_interpreter
@pytest.mark.interp
@pytest.mark.parametrize("case", CASES)
def test_the_interpreter_agrees_with_the_learner_of_the_cpu(case: str) -> None:
    done = child(["tests.kernels.gpu.population_cases", case], interpret=True)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    assert done.stdout == f"{case} passed\n"


@needs_triton
def test_every_case_is_run() -> None:
    from tests.kernels.gpu import population_cases

    assert list(population_cases.LEARNER_CASES) == CASES


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("case", CASES)
def test_a_device_agrees_with_the_learner_of_the_cpu(case: str) -> None:
    from tests.kernels.gpu import population_cases

    population_cases.LEARNER_CASES[case]("cuda")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("arithmetic", ["fp32", "fp16"])
def test_the_backend_makes_learners(arithmetic: str) -> None:
    from kernels import EqpropLearner
    from tests.kernels.gpu.population_cases import members
    from tests.kernels.networks import batch

    each = members()[0]
    made = EqpropLearner(
        each.topology,
        each.parameters,
        each.rule,
        each.optimizer,
        batch=6,
        arithmetic=arithmetic,  # type: ignore[arg-type]
        backend="triton",
    )
    assert made.backend == "triton"
    assert made.step(*batch(each.topology, 6), scale=1.0).finite
