"""`eqmesh node simulate`: a whole network in one process, with liars among the nodes."""

from typing import Annotated

from cyclopts import Parameter

from node import output
from node.commands.options import Json
from node.simulate import Attack, Findings, Setup
from node.simulate import simulate as run

__all__ = ["simulate"]


def simulate(
    *,
    nodes: Annotated[int, Parameter(name=("--nodes", "-n"), help="Nodes, liars included.")] = 16,
    rounds: Annotated[int, Parameter(help="Rounds of trust: ten trainings of each node.")] = 40,
    liars: Annotated[float, Parameter(help="Share of the nodes that lie.")] = 0.0,
    attack: Annotated[Attack, Parameter(help="What the liars do.")] = "all",
    task: Annotated[
        str, Parameter(help="A function to search: synthetic, or my.module:MyTask.")
    ] = "synthetic",
    seed: Annotated[int, Parameter(help="Seed of everything; the same one gives the same output.")] = 0,
    loss: Annotated[float, Parameter(help="Share of the messages that never arrive.")] = 0.0,
    json: Json = False,
) -> None:
    """Run a network of real nodes under a virtual clock, and show what its liars came to.

    Nothing is trained, and no socket is opened.

    Example: eqmesh node simulate --nodes 8 --rounds 10 --liars 0.25 --attack inflate
    """
    setup = Setup(nodes=nodes, rounds=rounds, liars=liars, attack=attack, task=task, seed=seed, loss=loss)

    def progress(done: int, of: int) -> None:
        if output.interactive():
            output.say(f"round {done} of {of}")

    found = run(setup, progress=progress)
    if json:
        output.write_json(found)
    else:
        output.write_table(["what", "value"], _rows(found))


def _rows(found: Findings) -> list[list[str]]:
    """The findings in the order in which they are asked about."""
    bans, reach = found.rounds_to_ban, found.to_99
    rows = [
        ("false share of fronts, mean over time", f"{found.false_share.mean:.4%}"),
        ("false share of fronts, largest", f"{found.false_share.max:.4%}"),
        ("false share of fronts, at the end", f"{found.false_share.end:.4%}"),
        ("false share of confirmed claims, mean", f"{found.false_share.of_claims:.4%}"),
        ("checks, share of compute", f"{found.checks.mean:.2%}"),
        ("checks, share of compute in the worst round", f"{found.checks.max:.2%}"),
        ("rounds from first lie to ban, median", _number(bans.median)),
        ("rounds from first lie to ban, sleepers", _number(bans.sleepers)),
        ("pairs of honest node and liar without a ban", f"{bans.never:.2%}"),
        ("wrong bans among honest pairs", f"{found.wrong_bans:.2%}"),
        ("rounds to confirmation, median", _number(found.rounds_to_confirmation)),
        ("evaluations a node", f"{found.evaluations:.1f}"),
        (
            "hypervolume, share of the reference" if found.reference else "hypervolume",
            f"{found.hypervolume_end:.4f}",
        ),
        ("evaluations to 99 % of the reference, median", _number(reach.median)),
        ("nodes that got there", f"{reach.reached} of {reach.of}"),
        ("genomes that two fronts share", f"{found.agreement:.1%}"),
        ("messages a node", f"{found.traffic.messages:.0f}"),
        ("bytes a node", f"{found.traffic.bytes:.0f}"),
        *((f"largest table or queue: {name}", str(size)) for name, size in found.largest.items()),
    ]
    return [list(row) for row in rows]


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"
