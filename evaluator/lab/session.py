"""The lab's training: the learners of a search, step by step, with settings that are switched on the way."""

import hashlib
from typing import TYPE_CHECKING

import numpy as np

from evaluator.build import build, rule_of, topology_of
from evaluator.errors import EvaluatorError
from evaluator.lab.messages import MOST_POINTS, Frame, Landscape, Point, Settings, Trace
from evaluator.lab.path import finite, landscape
from evaluator.tasks import DatasetTask, resolve
from kernels import KernelError, permutation
from kernels.topology import weight_name

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from genome import Value
    from kernels import Learner, Topology

__all__ = ["Session", "genes_of"]

_TASK = "digits"
# The example batch that is watched, and the example whose path is drawn: its first one.
_WATCHED = 32
_LOOKED_AT = 256


def genes_of(settings: Settings) -> "dict[str, Value]":
    """The genes of the space `mlp` that these settings are, as the builder of networks reads them."""
    ep = settings.rule != "backprop"
    rate = "lr_adam" if settings.optimizer in ("adam", "adamw") else f"lr_{settings.optimizer}"
    genes: dict[str, Value] = {
        "credit": "ep" if ep else "backprop",
        "depth": settings.depth,
        **{f"width{layer}": settings.width for layer in range(1, settings.depth + 1)},
        "skip": "none",
        "output": settings.output,
        "clip": 1.0,
        "optimizer": settings.optimizer,
        rate: settings.rate,
        "momentum": 0.0 if settings.optimizer == "sgd" else 0.95,
        "batch": settings.batch,
    }
    if not ep:
        return genes
    return genes | {
        "estimate": settings.rule,
        f"beta_{settings.output}": settings.beta,
        "scheme": settings.scheme,
        "step_size": settings.step_size,
        "free_steps": settings.free_steps,
        "nudged_steps": settings.nudged_steps,
        "spectral": "clip" if settings.spectral else "off",
        "gamma": settings.gamma,
    }


class Session:
    """One network in training. Nothing here waits: `step` takes one step, `frame` says what there is to see."""

    def __init__(self, settings: Settings) -> None:
        task = resolve(_TASK)
        assert isinstance(task, DatasetTask)
        self._task = task
        data = task.load()
        self._x, self._y = data.train_x, data.train_y
        self._validation = (data.validation_x[:_LOOKED_AT], data.validation_y[:_LOOKED_AT])
        self._example = (data.validation_x[:_WATCHED], data.validation_y[:_WATCHED])
        self._run = 0
        self.diverged: str | None = None
        self.restart(settings)

    def restart(self, settings: Settings) -> None:
        """Draw the first weights and begin anew. Raises EvaluatorError; then all stays as it was."""
        key = hashlib.sha256(f"eqmesh/lab/1\n{settings.seed}\n".encode()).digest()
        learner, topology = self._made(settings, key, None)
        self.settings, self._key = settings, key
        self._learner, self.topology = learner, topology
        self.step_number, self.diverged = 0, None
        self._points: list[Point] = []
        # The last step after which all weights between states were finite, and the largest of their norms.
        self._largest: tuple[int, float] | None = None
        self._order: NDArray[np.int64] | None = None
        self._place = 0
        self._epoch = 0
        self._run += 1
        self._restarted = True

    def switch(self, settings: Settings) -> None:
        """Go on with these settings and the present weights; with another network, begin anew.

        What the optimizer has gathered is kept where optimizer and clipping stay the same, and dropped otherwise.
        Raises EvaluatorError; then all stays as it was.
        """
        if settings.network != self.settings.network:
            self.restart(settings)
            return
        if self.diverged is not None:
            # There are no weights to go on with: settings are checked, and wait for a restart.
            self._made(settings, self._key, None)
            self.settings = settings
            return
        learner, topology = self._made(settings, self._key, self._learner.parameters())
        if self._alike(settings):
            learner.load(self._learner.state())
        self._learner, self.topology, self.settings = learner, topology, settings

    def _alike(self, settings: Settings) -> bool:
        """Whether the optimizer's state of now fits a learner of these settings."""
        now = self.settings
        return (
            settings.optimizer == now.optimizer
            and settings.spectral == now.spectral
            and settings.gamma == now.gamma
            and (settings.rule == "backprop") == (now.rule == "backprop")
        )

    def _made(
        self, settings: Settings, key: bytes, parameters: "dict[str, NDArray[np.generic]] | None"
    ) -> "tuple[Learner, Topology]":
        genes = genes_of(settings)
        try:
            learner = build(
                genes,
                inputs=self._task.inputs,
                classes=self._task.classes,
                seed=key,
                arithmetic="fp32",
                backend="torch-cpu",
                parameters=parameters,
            )
        except KernelError as error:
            raise EvaluatorError(str(error)) from error
        return learner, topology_of(genes, inputs=self._task.inputs, classes=self._task.classes)

    @property
    def going(self) -> bool:
        """Whether another step can be taken."""
        return self.diverged is None

    def step(self) -> None:
        """Take one training step, unless numbers are no longer finite."""
        if not self.going:
            return
        rows = self._rows()
        x, y = self._x[rows], self._y[rows]
        loss = self._loss(x, y)
        number = self.step_number + 1
        report = self._learner.step(x, y, scale=1.0, sign=self._sign(number))
        self.step_number = number
        parameters = self._learner.parameters()
        norms = self._norms(parameters)
        if norms and all(np.isfinite(norms)):
            self._largest = number, max(norms)
        accuracy = None
        broken = [name for name, values in parameters.items() if not np.isfinite(values).all()]
        if not np.isfinite(loss) or not report.finite or broken:
            self.diverged = self._reason(number, loss, broken)
        elif number % 10 == 1:
            accuracy = self.accuracy()
        self._points.append(
            Point(
                step=number,
                loss=float(loss) if np.isfinite(loss) else None,
                accuracy=accuracy,
                norms=finite(norms),
            )
        )
        if len(self._points) > MOST_POINTS:
            self._points = self._points[:-1][::2] + self._points[-1:]

    def _rows(self) -> "NDArray[np.int64]":
        if self._order is None or self._place + self.settings.batch > len(self._order):
            self._order, self._place = permutation(self._key, self._epoch, len(self._x)), 0
            self._epoch += 1
        rows = self._order[self._place : self._place + self.settings.batch]
        self._place += self.settings.batch
        return rows

    def _sign(self, step: int) -> int:
        digest = hashlib.sha256(self._key + b"sign" + step.to_bytes(8, "big")).digest()
        return 1 if digest[0] & 1 else -1

    def _loss(self, x: "NDArray[np.float32]", y: "NDArray[np.int64]") -> float:
        """The cost C that the nudge pulls on, as a mean over a batch."""
        with np.errstate(all="ignore"):
            scores = self._learner.predict(x).astype(np.float64)
            if self.settings.output == "mse":
                return float(0.5 * np.square(scores - np.eye(self._task.classes)[y]).sum(axis=1).mean())
            above = scores - scores.max(axis=1, keepdims=True)
            return float((np.log(np.exp(above).sum(axis=1)) - above[np.arange(len(y)), y]).mean())

    def accuracy(self) -> float | None:
        """The share of the validation split's first examples that are right; None where scores are not finite."""
        x, y = self._validation
        scores = self._learner.predict(x)
        return float((scores.argmax(axis=1) == y).mean()) if np.isfinite(scores).all() else None

    @property
    def weights(self) -> tuple[str, ...]:
        """Names of the weights between states."""
        return tuple(weight_name(*edge) for edge in self.topology.recurrent)

    def parameters(self) -> "dict[str, NDArray[np.generic]]":
        """Copies of the parameters by name."""
        return self._learner.parameters()

    def _norms(self, parameters: "dict[str, NDArray[np.generic]]") -> list[float]:
        found = []
        for name in self.weights:
            weight = np.asarray(parameters[name], dtype=np.float64)
            found.append(float(np.linalg.norm(weight, 2)) if np.isfinite(weight).all() else float("nan"))
        return found

    def _reason(self, step: int, loss: float, broken: list[str]) -> str:
        where = f"the weights {', '.join(broken)} are" if broken else "the states and their gradients are"
        if not np.isfinite(loss) and not broken:
            where = "the loss is"
        grown = ""
        if self._largest:
            at, norm = self._largest
            grown = f" The largest spectral norm had come to {norm:.3g} at step {at}."
        hint = "Lower the learning rate" + (
            "" if self.settings.spectral or self.settings.rule == "backprop" else " or clip the spectrum"
        )
        return f"Not finite at step {step}: {where} no longer numbers.{grown} {hint}, and start again."

    def frame(self, steps_per_s: float) -> Frame:
        """What there is to see now; the points since the last frame are told once."""
        points, self._points = tuple(self._points), []
        restarted, self._restarted = self._restarted, False
        watched = self.diverged is None and self.settings.rule != "backprop"
        return Frame(
            run=self._run,
            step=self.step_number,
            settings=self.settings,
            steps_per_s=steps_per_s,
            restarted=restarted,
            weights=self.weights,
            points=points,
            trace=self._trace() if watched else None,
            landscape=self._landscape() if watched else None,
            diverged=self.diverged,
        )

    def _trace(self) -> Trace:
        found = self._learner.diagnose(*(part[: self.settings.batch] for part in self._example))
        return Trace(
            free_energy=finite(found.free_energy),
            free_residual=finite(found.free_residual),
            nudged_energy=finite(found.nudged_energy),
            nudged_residual=finite(found.nudged_residual),
            free_steps=self.settings.free_steps,
            verdict=found.verdict,
            period=found.period,
        )

    def _landscape(self) -> Landscape | None:
        x, y = self._example
        rule = rule_of(genes_of(self.settings))
        return landscape(self.topology, self._learner.parameters(), rule, x[0], int(y[0]))
