"""The child that computes an experiment: `python -P -m evaluator.incremental --memory BYTES --nice N`.

An `evaluator.incremental.messages.Question` comes in, its answer goes out (see `evaluator.oneshot`); what is learned
along the way is told on standard error.
"""

import sys
from pathlib import Path

import msgspec

from eqmesh import EqmeshError
from evaluator.incremental.experiment import Event, RunResult, StageLearned, run_folder, run_neurogenesis
from evaluator.incremental.messages import Answer, Learn, Learned, Look, Question, Summary
from evaluator.incremental.plots import draw
from evaluator.incremental.presets import curriculum_of
from evaluator.incremental.records import read_runs, unfinished
from evaluator.incremental.report import write_report
from evaluator.incremental.settings import REGIMES
from evaluator.incremental.summary import summarise
from evaluator.oneshot import Refused, serve

__all__ = ["answer", "main"]


def main() -> None:
    """Answer the question on standard input."""
    serve(Question, answer)


def answer(question: Question) -> Answer:
    """The answer to a question. What goes wrong on purpose, or for want of memory or room, is `Refused`."""
    try:
        return _learn(question) if isinstance(question, Learn) else _look(question)
    except (EqmeshError, OSError) as error:
        return Refused(str(error))
    except MemoryError:
        return Refused(
            "the experiment needs more memory than a worker may have. Raise the setting worker_memory, or learn fewer "
            "samples with --per-class."
        )


def _learn(question: Learn) -> Learned:
    data, settings = curriculum_of(question)
    stages = 1 + len(set(data.classes) - set(settings.base))

    def tell(event: Event) -> None:
        if isinstance(event, StageLearned):
            _say(_stage_line(event, stages))

    # The order of the regimes has the growing ones first: they say how large the fixed ones are.
    for variant in (one for one in REGIMES if one in question.variants):
        out = Path(question.out)
        done = (run_folder(out, variant, question.seed) / "manifest.json").exists()
        result = run_neurogenesis(data, variant, question.seed, settings, out, tell)
        _say(_end_line(result, kept=done))
    return Learned()


def _look(question: Look) -> Summary:
    folder = Path(question.out)
    runs = read_runs(folder)
    summary = summarise(runs, unfinished(folder))
    plots = draw(folder, runs)
    files = [*plots, *(write_report(folder, summary, runs, plots) if question.report else ())]
    return msgspec.structs.replace(summary, files=tuple(str(path) for path in files))


def _stage_line(event: StageLearned, stages: int) -> str:
    labels = " and ".join(map(str, event.labels))
    sizes = "-".join(map(str, event.sizes))
    return (
        f"{event.variant}, seed {event.seed}: [{event.stage + 1}/{stages}] learned {labels}, macro MSE so far "
        f"{event.macro_mse:.4f}, sizes {sizes}"
    )


def _end_line(result: RunResult, *, kept: bool) -> str:
    how = "was done before" if kept else f"done in {result.seconds:.1f} s"
    return f"{result.variant}, seed {result.seed}: {how}, macro MSE {result.macro_mse:.4f}"


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    main()
