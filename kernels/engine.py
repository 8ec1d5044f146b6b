"""Equilibrium Propagation with torch, for one network or P side by side: no autograd, no new memory.

Data come from the host and scores go back to it; all else stays on the device of the engine.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from kernels.arithmetic import Arithmetic, Bfloat16, run
from kernels.buffers import CHUNK, BySize, Numbers, in_chunks, placed_on, works_remotely
from kernels.contrast import distance
from kernels.elementwise import ElementwiseAdam, WeightGrid
from kernels.errors import KernelError
from kernels.exact import WEIGHT_LIMIT, Exact, check_batch, grid_clip, weight_bits
from kernels.learner import Array, check_learner, check_step
from kernels.making import make_optimizers
from kernels.parameters import Parameters
from kernels.rules import ArithmeticName, OptimizerSettings, Rule
from kernels.settle import Settled
from kernels.slots import load_state, read_state
from kernels.spectral import make_cap
from kernels.topology import Topology, weight_name
from kernels.workspace import Workspace

__all__ = ["Engine"]

# Where the bits of exact-1, and the steps of populations, are vouched for.
DEVICES = ("cpu", "cuda")
CLASSES: Mapping[ArithmeticName, type[Arithmetic]] = {"fp32": Arithmetic, "bf16": Bfloat16, "exact-1": Exact}


class Engine:
    """Trains and reads networks of one topology; `values`, `rules` and `settings` have one entry for each.

    `population` None stands for one network whose arrays have no population axis. Arrays are torch tensors here.
    `device` is where they lie: any of torch's for one network in fp32 or bf16, the CPU or a CUDA device in exact-1 and
    for a population; raises KernelError for another. exact-1 gives the same bits on both.

    Away from the CPU a step with fixed numbers of sweeps has three parts: `prepare` sets its numbers, `launch` does
    the work and reads nothing back, so that it can be recorded and replayed, and `finish` reads how it went.
    """

    def __init__(
        self,
        topology: Topology,
        values: Sequence[Mapping[str, Array]],
        rules: Sequence[Rule],
        settings: Sequence[OptimizerSettings],
        *,
        batch: int,
        arithmetic: ArithmeticName,
        population: int | None,
        device: str | torch.device = "cpu",
    ) -> None:
        self.device = torch.device(device)
        check_device(self.device, arithmetic, population)
        for rule in rules:
            rule.check(topology)
        for network in values:
            check_learner(topology, network, batch=batch, arithmetic=arithmetic)
        grid = None
        if arithmetic == "exact-1":
            grid = exact_grid(topology, rules, settings, batch)
            topology = replace(topology, clip=grid_clip(topology.clip))
        self.topology = topology
        self.batch = batch
        self._rules = rules
        self._grid = grid
        self.steps = 0
        self.arithmetic = CLASSES[arithmetic](population, remote=works_remotely(self.device))
        tolerances = [each.tolerance for rule in rules for each in (rule.free, rule.nudged)]
        self.launches = self.arithmetic.remote and not any(tolerances)
        self.factorises = settings[0].name == "dion"
        with placed_on(self.device):
            self._allocate(values, settings)
        if self._caps and self.device.type != "cpu":
            # A cap that is applied on two devices rounds differently: networks begin from the bits of the CPU.
            host = Engine(
                topology, values, rules, settings, batch=batch, arithmetic=arithmetic, population=population
            )
            self.adopt(host)

    def _allocate(self, values: Sequence[Mapping[str, Array]], settings: Sequence[OptimizerSettings]) -> None:
        topology, grid = self.topology, self._grid
        self.parameters = Parameters(topology, self.arithmetic, values)
        self._regrid()
        units = [1.0 / (distance(rule) * self.batch) for rule in self._rules]
        self._optimizers = make_optimizers(self.parameters, settings, units=units, grid=grid)
        self._caps = []
        if settings[0].spectral_cap is not None:
            caps = [each.spectral_cap or 0.0 for each in settings]
            recurrent = [self.parameters.views[weight_name(*edge)].value for edge in topology.recurrent]
            self._caps = [make_cap(weight, caps) for weight in recurrent]
        self._refresh = self.arithmetic.refresh(self.parameters.flat)
        self._workspaces = BySize(self._make_workspace, self.batch)
        self._bias_gradient = self.parameters.gradient[..., self.parameters.bias_start :]
        self._health = torch.zeros(self.arithmetic.lead, dtype=self.arithmetic.dtype)
        # A number alone must not round what it multiplies; those of a population are of the kind that callers give.
        dtype = torch.float64 if self.arithmetic.population is None else torch.int64
        self._sign = Numbers(len(self._rules), dtype, axes=2, remote=self.arithmetic.remote)

    def _regrid(self) -> None:
        if self._grid is not None:
            run(self._grid.settle(self.parameters.flat.value))

    def workspace(self, rows: int) -> Workspace:
        """Return the buffers for batches of `rows` samples, allocated on first use."""
        return self._workspaces[rows]

    def _make_workspace(self, rows: int) -> Workspace:
        with placed_on(self.device):
            return Workspace(
                self.topology,
                self.arithmetic,
                self.parameters.views,
                self.parameters.gradient_views,
                self._rules,
                rows,
            )

    @torch.inference_mode()
    def step(
        self, x: Tensor, y: Tensor, *, scale: float, sign: int | Tensor
    ) -> tuple[Settled, Settled, Tensor]:
        """Learn from a batch; return how both phases settled, and a number ([P]) that tells of numbers gone astray.

        It is the sum of all gradients of biases, each of which sums what the states of a layer or the mistakes have
        become: a NaN that the batch met on its way shows in it. An infinite parameter need not, where a clip or the
        softmax keeps what follows finite; and what this step makes of the parameters shows in the next.
        """
        assert torch.is_inference_mode_enabled(), "an EP path never records a graph"
        rows = x.shape[-2]
        self.check(rows, scale, sign)
        workspace = self.workspace(rows)
        workspace.load(x, y)
        if self.launches:
            self.prepare(scale, sign)
            self.launch(workspace)
            return self.finish(workspace)
        free = workspace.relax(measured=self.arithmetic.population is None)
        nudged = workspace.nudge(sign)
        self._rescale(rows)
        for optimizer in self._optimizers:
            optimizer.update(scale)
        self._hold_caps()
        run(self._refresh)
        self.steps += 1
        return free, nudged, torch.sum(self._bias_gradient, dim=-1, out=self._health)

    def check(self, rows: int, scale: float, sign: int | Tensor) -> None:
        """Raise KernelError unless a step may take `rows` samples with this `scale` and `sign`."""
        check_step(rows, self.batch, scale, signs_of(sign))

    def _rescale(self, rows: int) -> None:
        if rows != self.batch:
            self.parameters.gradient.mul_(self.batch / rows)

    def _hold_caps(self) -> None:
        if self._caps:
            with placed_on(self.device):
                for cap in self._caps:
                    cap.apply()

    def prepare(self, scale: float, sign: int | Tensor) -> None:
        """Set the numbers of the next step, which its operations read from arrays."""
        self._sign.set(signs_of(sign))
        for optimizer in self._optimizers:
            optimizer.prepare(scale)

    def launch(self, workspace: Workspace) -> None:
        """Learn from the batch that `workspace` has loaded, by the numbers that were prepared, reading nothing back."""
        workspace.relax_unread()
        workspace.nudge(self._sign.of())
        self._rescale(workspace.rows)
        for optimizer in self._optimizers:
            optimizer.launch()
        run(self._refresh)
        torch.sum(self._bias_gradient, dim=-1, out=self._health)

    def finish(self, workspace: Workspace) -> tuple[Settled, Settled, Tensor]:
        """Do what a step calls for only now and then, and return what `step` returns."""
        for optimizer in self._optimizers:
            optimizer.finish()
        if self._caps:
            # They look at the weights to find out what to do: that cannot be recorded.
            self._hold_caps()
            run(self._refresh)
        self.steps += 1
        rule = self._rules[0]
        free = Settled(rule.free.steps, workspace.residual())
        return free, Settled(rule.nudged.steps, 0.0), self._health

    @torch.inference_mode()
    def scores(self, x: Tensor) -> Tensor:
        """Return the scores ([P,] n, classes) of the free phase for `x` ([P,] n, n_0), any n; both on the host.

        Samples settle in chunks of 256; where the phase has a tolerance, those of a chunk stop together.
        """
        out = torch.empty((*x.shape[:-1], self.topology.sizes[-1]), dtype=self.arithmetic.dtype)
        workspace = self.workspace(CHUNK)
        for rows, chunk in in_chunks(x):
            workspace.load(chunk, None)
            workspace.relax(measured=False)
            out[..., rows, :] = workspace.scores.mT[..., : rows.stop - rows.start, :]
        return out

    def _held(self) -> list[Tensor]:
        holders = [*self._optimizers, *self._caps]
        return [self.parameters.flat.value, *(slot for holder in holders for slot in holder.slots.values())]

    @torch.inference_mode()
    def adopt(self, other: "Engine") -> None:
        """Continue where `other` stands: an engine made from the same arguments, on whichever device."""
        for mine, others in zip(self._held(), other._held(), strict=True):
            mine.copy_(others)
        run(self._refresh)
        self.steps = other.steps

    def state(self) -> dict[str, Array]:
        """Return copies, on the host, of all that is needed to continue bit for bit."""
        return read_state(self.parameters, [*self._optimizers, *self._caps], self.steps)

    @torch.inference_mode()
    def load(self, state: Mapping[str, Array]) -> None:
        """Continue from a `state`; raises KernelError for one of another network, optimizer or grid."""
        check = None if self._grid is None else self._grid.check
        self.steps = load_state(self.parameters, [*self._optimizers, *self._caps], state, check=check)
        for optimizer in self._optimizers:
            if isinstance(optimizer, ElementwiseAdam):
                optimizer.distrust()


def check_device(device: torch.device, arithmetic: ArithmeticName, population: int | None) -> None:
    """Raise KernelError where an engine of this kind cannot work on `device`."""
    if arithmetic not in CLASSES:
        raise KernelError(
            f"the engine of torch computes in {', '.join(CLASSES)}, got {arithmetic!r}. Choose one of them, or a "
            "backend that has it."
        )
    if device.type in DEVICES or (arithmetic != "exact-1" and population is None):
        return
    asked = "exact-1" if arithmetic == "exact-1" else "a population"
    raise KernelError(
        f"{asked} runs on {' and '.join(DEVICES)}, got the device {str(device)!r}. Choose one of them, or leave "
        "`device` out."
    )


def signs_of(sign: int | Tensor) -> list[int]:
    """Return the signs of a step, one for each network, from what a caller gave."""
    return [sign] if isinstance(sign, int) else sign.flatten().tolist()


def exact_grid(
    topology: Topology, rules: Sequence[Rule], settings: Sequence[OptimizerSettings], batch: int
) -> WeightGrid:
    """Return the weight grid of exact-1; raises KernelError for what it cannot do exactly."""
    for each in settings:
        if each.name in ("muon", "dion") or each.spectral_cap is not None:
            asked = "a spectral cap" if each.spectral_cap is not None else each.name
            raise KernelError(
                f"exact-1 has no {asked}, whose products are not exact. Use sgd, adam or adamw, or fp32."
            )
    for rule in rules:
        check_batch(topology, rule, batch)
    # A network's grid must not depend on its neighbours: it follows from the topology and the estimate alone.
    return WeightGrid(weight_bits(topology, rules[0]), WEIGHT_LIMIT)
