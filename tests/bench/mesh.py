"""What liars come to, what a mesh gains, and what grows, in simulated networks of the node's real code.

    python -m tests.bench.mesh --progress FOLDER --output tests/bench/results/mesh.json

Every simulation is kept in the folder of `--progress` as soon as it is done, and not run again: a run that was cut off
goes on from there. `--parts` picks some of: attack, search, churn.
"""

import argparse
import hashlib
import statistics
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec

from node.simulate import Findings, Setup, simulate
from tests.bench.report import Cell, Column, Figure, Report, Table, arguments, finish, origin, source_hash

PARTS = ("attack", "search", "churn")
SHARES = (0.3, 0.1, 0.5)
_FALSE = {0.3: 0.0005, 0.1: 0.0, 0.5: 0.001}
_CHECKS = {0.3: 0.15, 0.1: 0.10, 0.5: 0.20}
_DAY_ROUNDS = 144
_FEWER, _KEPT, _BEARABLE = 8.0, 0.7, 1.3


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """One simulation, the processor seconds that it took, and the hash of the sources that it ran."""

    findings: Findings
    cpu_s: float
    source: str


def perform(setups: Iterable[Setup], options: argparse.Namespace) -> list[Run]:
    """The simulations, as far as the folder does not have them; with `--kept` those alone that it has."""
    found = [
        _kept(setup, options.progress) or (None if options.kept else _run(setup, options.progress))
        for setup in setups
    ]
    return [run for run in found if run is not None]


def _file(setup: Setup, folder: Path) -> Path:
    name = hashlib.sha256(msgspec.json.encode(setup, order="deterministic")).hexdigest()[:16]
    return folder / f"{name}.json"


def _kept(setup: Setup, folder: Path | None) -> Run | None:
    if folder is None or not (file := _file(setup, folder)).exists():
        return None
    return msgspec.json.decode(file.read_bytes(), type=Run)


def _run(setup: Setup, folder: Path | None) -> Run:
    began, source = time.process_time(), source_hash()
    run = Run(findings=simulate(setup), cpu_s=round(time.process_time() - began, 1), source=source)
    print(f"{run.cpu_s:.0f} s: {setup}", flush=True)
    if folder is not None:
        partial = _file(setup, folder).with_suffix(".partial")
        partial.write_bytes(msgspec.json.encode(run))
        partial.replace(_file(setup, folder))
    return run


def attack_setups(options: argparse.Namespace) -> list[Setup]:
    """The attack table of the design: three shares of liars, several seeds."""
    return [
        Setup(nodes=options.nodes, rounds=options.rounds, liars=liars, attack="all", seed=seed)
        for liars in SHARES
        for seed in range(options.seeds)
    ]


def search_setups(options: argparse.Namespace) -> dict[str, list[Setup]]:
    """One node against sixteen, these with half of the messages lost, and with liars among them."""
    seeds = range(options.seeds)
    many, rounds = (4, 6) if options.smoke else (16, options.search_rounds)
    # Liars stand in the place of none of the sixteen: as many honest nodes search as without them.
    beside = round(many / 0.7)
    return {
        "1 node": [Setup(nodes=1, rounds=20 * rounds, seed=seed) for seed in seeds],
        f"{many} nodes": [Setup(nodes=many, rounds=rounds, seed=seed) for seed in seeds],
        f"{many} nodes, half of the messages lost": [
            Setup(nodes=many, rounds=rounds, loss=0.5, seed=seed) for seed in seeds
        ],
        f"{many} nodes and {beside - many} liars": [
            Setup(nodes=beside, rounds=rounds, liars=(beside - many) / beside, seed=seed) for seed in seeds
        ],
    }


def churn_setup(options: argparse.Namespace) -> Setup:
    """A day in which a third of the nodes is away at any time, two hours each; for the last four hours all are back."""
    rounds = 12 if options.smoke else _DAY_ROUNDS
    nodes = 6 if options.smoke else options.churn_nodes
    return Setup(nodes=nodes, rounds=rounds, churn=1 / 3, away_rounds=rounds // 12)


# What it comes to


def evaluations(runs: Iterable[Run]) -> float | None:
    """Median over seeds of the median evaluations a node to 99 %; None where most seeds did not get there."""
    found = [run.findings.to_99.median for run in runs]
    reached = sorted(value if value is not None else float("inf") for value in found) or [float("inf")]
    middle = statistics.median(reached)
    return None if middle == float("inf") else middle


def attack_report(runs: Sequence[Run]) -> tuple[list[Figure], Table]:
    """The attack table and its figures."""
    figures: list[Figure] = []
    rows: list[list[Cell]] = []
    for liars in SHARES:
        found = [run.findings for run in runs if run.findings.setup.liars == liars]
        if not found:
            continue
        rows += [_attack_row(one) for one in found]
        where = f"{found[0].setup.nodes} nodes, {found[0].setup.rounds} rounds, {liars:.0%} liars"
        false = max(one.false_share.mean for one in found)
        checks = max(one.checks.mean for one in found)
        figures += [
            _most(f"false share of confirmed fronts, {where}", false, _FALSE[liars], ".3%"),
            _most(f"checks, share of compute, {where}", checks, _CHECKS[liars], ".1%"),
        ]
        if liars == 0.3:
            figures += _thirty(found, where)
    return figures, Table(
        title="Liars who inflate, sleep, collude, slander and come back",
        columns=(
            Column("liars", ".0%"),
            Column("seed"),
            Column("false rows", ".3%"),
            Column("of claims", ".3%"),
            Column("checks", ".1%"),
            Column("worst round", ".1%"),
            Column("to ban", ".1f"),
            Column("sleepers", ".1f"),
            Column("no ban", ".1%"),
            Column("wrong bans", ".2%"),
            Column("to confirm", ".1f"),
            Column("identities"),
            Column("claims"),
            Column("confirmed"),
        ),
        rows=rows,
        note="False rows: mean over the rounds. Rounds to a ban: from a liar's first lie, over pairs of honest node "
        "and liar; a pair without a ban counts as all rounds.",
    )


def _attack_row(one: Findings) -> list[Cell]:
    return [
        one.setup.liars,
        one.setup.seed,
        one.false_share.mean,
        one.false_share.of_claims,
        one.checks.mean,
        one.checks.max,
        one.rounds_to_ban.median,
        one.rounds_to_ban.sleepers,
        one.rounds_to_ban.never,
        one.wrong_bans,
        one.rounds_to_confirmation,
        one.liar_identities,
        one.claims,
        one.confirmations,
    ]


def _thirty(found: Sequence[Findings], where: str) -> list[Figure]:
    """The rows of the design that it states for 30 % of liars alone: the worst seed of each."""

    def worst(values: Iterable[float | None]) -> float | None:
        some = [value for value in values if value is not None]
        return max(some, default=None)

    return [
        _most(f"rounds to ban, {where}", worst(one.rounds_to_ban.median for one in found), 5.0, ".1f"),
        _most(
            f"rounds to ban, sleepers, {where}",
            worst(one.rounds_to_ban.sleepers for one in found),
            10.0,
            ".1f",
        ),
        _most(f"wrong bans among honest pairs, {where}", worst(one.wrong_bans for one in found), 0.01, ".2%"),
        _most(
            f"rounds to confirmation, {where}", worst(one.rounds_to_confirmation for one in found), 3.0, ".1f"
        ),
    ]


def _most(what: str, value: float | None, most: float, form: str) -> Figure:
    if value is None:
        return Figure(what=what, target=f"<= {most:{form}}", measured="none", reached=None)
    return Figure(what=what, target=f"<= {most:{form}}", measured=f"{value:{form}}", reached=value <= most)


def search_report(found: dict[str, list[Run]]) -> tuple[list[Figure], Table]:
    """What company is worth."""
    counts = {kind: evaluations(runs) for kind, runs in found.items()}
    kinds = list(found)
    alone, clean, lossy, lied_to = (counts[kind] for kind in kinds)
    asked = {
        kind: statistics.fmean(run.findings.evaluations for run in runs) if runs else 0.0
        for kind, runs in found.items()
    }
    # One that did not get there in all its evaluations would have needed more: what follows is the least that is true.
    least = alone if alone is not None else asked[kinds[0]]
    fewer = None if clean is None else least / clean
    kept = None if clean is None or lossy is None else clean / lossy
    borne = None if clean is None or lied_to is None else lied_to / clean
    mark = "" if alone is not None else "at least "
    figures = [
        _least(f"{kinds[1]}: times fewer evaluations a node to 99 % than {kinds[0]}", fewer, _FEWER, mark),
        _least(f"{kinds[2]}: share of that kept", kept, _KEPT),
        Figure(
            what=f"{kinds[3]}: evaluations a node, times those of {kinds[1]}",
            target=f"<= {_BEARABLE}",
            measured="never reached" if borne is None else f"{borne:.2f}",
            reached=borne is not None and borne <= _BEARABLE,
        ),
    ]
    rows: list[list[Cell]] = [
        [
            kind,
            run.findings.setup.seed,
            run.findings.to_99.median,
            f"{run.findings.to_99.reached} of {run.findings.to_99.of}",
            run.findings.evaluations,
            run.findings.hypervolume_end,
            run.findings.rounds_to_confirmation,
            run.findings.traffic.messages,
            run.findings.traffic.bytes / 1024,
        ]
        for kind, runs in found.items()
        for run in runs
    ]
    return figures, Table(
        title="Evaluations a node to 99 % of the reference hypervolume",
        columns=(
            Column("network"),
            Column("seed"),
            Column("median", ".0f"),
            Column("nodes there"),
            Column("evaluations", ".0f"),
            Column("hypervolume", ".4f"),
            Column("to confirm", ".1f"),
            Column("messages a node", ".0f"),
            Column("KB a node", ".0f"),
        ),
        rows=rows,
        note="Evaluations are those of the search; each claim is one training more, at most one for four evaluations. "
        "Announcements that are lost stay lost, questions are sent again as TCP does.",
    )


def _least(what: str, value: float | None, least: float, mark: str = "") -> Figure:
    return Figure(
        what=what,
        target=f">= {least:g}",
        measured="never reached" if value is None else f"{mark}{value:.2f}",
        reached=value is not None and value >= least,
    )


def churn_report(run: Run) -> tuple[list[Figure], Table]:
    """Sizes in the middle and at the end of the day."""
    found = run.findings
    middle, end = found.moments[len(found.moments) // 2 - 1], found.moments[-1]
    rows: list[list[Cell]] = [
        [name, middle.sizes.get(name, 0), end.sizes[name], found.largest[name]] for name in end.sizes
    ]
    least = found.hypervolume_least / found.hypervolume_end if found.hypervolume_end else 0.0
    return [
        Figure(
            what="fronts agree after a day of churn: least hypervolume over the mean",
            target=">= 0.99",
            measured=f"{least:.4f}",
            reached=least >= 0.99,
        ),
        Figure(
            what="false rows and wrong bans on that day",
            target="none",
            measured=f"{found.false_share.max:.2%} and {found.wrong_bans:.2%}",
            reached=found.false_share.max == 0.0 and found.wrong_bans == 0.0,
        ),
    ], Table(
        title="Largest table, queue and file of any node after 12 and 24 hours, a third of the nodes away",
        columns=(Column("what"), Column("12 h"), Column("24 h"), Column("largest")),
        rows=rows,
        note=f"{found.setup.nodes} nodes, {found.evaluations:.0f} evaluations a node; genomes that two fronts share at "
        f"the end: {found.agreement:.0%}.",
    )


def main() -> None:
    """Simulate what is missing, and report."""
    parser = arguments(__doc__ or "")
    parser.add_argument("--parts", default=",".join(PARTS), help="which parts, with commas between them")
    parser.add_argument("--progress", type=Path, help="folder that keeps what was simulated")
    parser.add_argument("--kept", action="store_true", help="report what is kept, and simulate nothing")
    parser.add_argument("--nodes", type=int, default=100, help="nodes of the attack table")
    parser.add_argument("--rounds", type=int, default=200, help="rounds of the attack table")
    parser.add_argument("--search-rounds", type=int, default=40)
    parser.add_argument("--churn-nodes", type=int, default=12)
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    if options.smoke:
        options.nodes, options.rounds, options.seeds = 6, 6, 1
    if options.progress is not None:
        options.progress.mkdir(parents=True, exist_ok=True)
    began = origin("mesh")
    parts = options.parts.split(",")
    figures: list[Figure] = []
    tables: list[Table] = []
    data: dict[str, object] = {}
    done: list[Run] = []
    if "search" in parts:
        searched = {kind: perform(setups, options) for kind, setups in search_setups(options).items()}
        done += [run for runs in searched.values() for run in runs]
        made = search_report(searched)
        figures, tables = figures + made[0], [*tables, made[1]]
        data["search"] = {kind: [_short(run) for run in runs] for kind, runs in searched.items()}
    if "attack" in parts:
        attacked = perform(attack_setups(options), options)
        done += attacked
        made = attack_report(attacked)
        figures, tables = figures + made[0], [*tables, made[1]]
        data["attack"] = [_short(run) for run in attacked]
    for churned in perform([churn_setup(options)], options) if "churn" in parts else ():
        done.append(churned)
        made = churn_report(churned)
        figures, tables = figures + made[0], [*tables, made[1]]
        data["churn"] = _short(churned)
    minutes = sum(run.cpu_s for run in done) / 60
    sources = sorted({run.source for run in done})
    report = Report(
        name="mesh",
        title=f"A simulated mesh of {options.nodes}" if parts == ["attack"] else "A simulated mesh",
        about="Networks of nodes in one process under a virtual clock (`eqmesh node simulate`): the real code of "
        "search, mesh, trust and store, on the table `synthetic` whose front is known; trainings are made up.",
        smoke=bool(options.smoke),
        seeds=tuple(range(options.seeds)),
        figures=tuple(figures),
        tables=tuple(tables),
        origin=began,
        notes=(f"{len(done)} simulations, {minutes:.0f} processor minutes, sources {', '.join(sources)}.",),
        data=data,
    )
    finish(report, options.output)


def _short(run: Run) -> dict[str, object]:
    """A run with some forty of its rounds, without their sizes."""
    found = msgspec.to_builtins(run)
    moments = found["findings"]["moments"]
    found["findings"]["moments"] = [
        {name: value for name, value in moment.items() if name != "sizes"}
        for moment in moments[:: max(1, len(moments) // 40)]
    ]
    return found


if __name__ == "__main__":
    main()
