"""`eqmesh`: registers every command by import string, so that only the one that is called is loaded."""

import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from cyclopts import App

from eqmesh import EqmeshError, __version__
from node.errors import leaves

__all__ = ["EXIT_CODES", "app", "main", "make_app"]

EXIT_CODES = {
    0: "done",
    1: "it could not be done; standard error says why and what to do",
    2: "the command line was not understood",
    3: "the evaluation ended in a failure, which is on record or in the result",
    4: "a claim was verified, and is refuted",
    130: "stopped by Ctrl-C or SIGTERM; the same command goes on from there",
}

_COMMANDS: dict[str, tuple[str, dict[str, tuple[str, str]]]] = {
    "": (
        "",
        {
            "search": ("search:search", "Search for good networks, or go on with a search."),
            "front": ("front:front", "Show the Pareto front of a store."),
            "evaluate": ("evaluate:evaluate", "Train and measure one genome or preset."),
            "compare": ("compare:compare", "Train several genomes on several seeds: table and plots."),
            "ablate": ("ablate:ablate", "Train a genome without each of its genes: which ones matter."),
            "probe": ("probe:probe", "Ask a trained network what its scores do not say."),
            "report": ("experiment_report:report", "Write what the runs of a folder come to, as HTML too."),
            "bench": ("bench:bench", "Measure this machine, and how far predictions are off."),
            "doctor": ("doctor:doctor", "Check that this machine can run eqmesh."),
            "verify": ("verify:verify", "Train a claim's genome again, and see whether the claim holds."),
            "join": ("bootstrap.commands:join", "Join a mesh, and search as a peer of it."),
            "bootstrap": ("bootstrap.commands:bootstrap", "Introduce peers of a mesh to each other."),
            "top": ("dashboard.commands:top", "Watch a store in the terminal."),
        },
    ),
    "dashboard": (
        "Look at a store in the browser.",
        {
            "serve": ("dashboard.commands:serve", "Show a store in the browser."),
            "export": ("dashboard.commands:export", "Write a run as one HTML file that opens from disk."),
        },
    ),
    "genome": (
        "Look at genomes and move them between stores.",
        {
            "show": ("genome:show", "Genes, birth and every evaluation of one genome."),
            "diff": ("genome:diff", "Genes in which two genomes differ."),
            "export": ("genome:export", "Write a genome as JSON, with its weights if they are kept."),
            "import": ("genome:import_", "Take a genome of a JSON file into a store."),
        },
    ),
    "lineage": (
        "Who descends from whom.",
        {
            "show": ("lineage:show", "One genome's place: parents, children, what its birth changed."),
            "ancestors": ("lineage:ancestors", "The line of one genome back to its founders."),
            "diff": ("lineage:diff_", "How two genomes are related, and what changed on the way."),
            "stats": ("lineage:stats", "Statistics of the ancestry in a store."),
            "export": ("lineage:export", "The whole ancestry as CSV, GraphML, Newick, DOT or JSON."),
        },
    ),
    "task": (
        "What networks are searched for.",
        {"list": ("task:list_", "Tasks by name, with their fidelity tiers.")},
    ),
    "experiment": (
        "Learning tasks outside the search, each beside its baselines.",
        {
            "cartpole": ("experiment:cartpole", "Balance a pole by a policy that learns by EP credit."),
            "neurogenesis": (
                "neurogenesis:neurogenesis",
                "Learn class after class by networks that grow and replay.",
            ),
            "incremental": (
                "incremental:incremental",
                "Learn class after class by EP classifiers that grow and replay.",
            ),
        },
    ),
    "data": (
        "Data sets on this machine.",
        {
            "list": ("data:list_", "Every data set, and whether this machine has it."),
            "fetch": ("data:fetch", "Get a data set and check it."),
            "verify": ("data:verify", "Check the files of a data set against their checksums."),
        },
    ),
    "node": (
        "Be a peer of a mesh.",
        {
            "run": ("bootstrap.commands:run", "Search as a peer of a mesh."),
            "simulate": ("simulate:simulate", "Run a network of nodes in one process, liars among them."),
        },
    ),
    "control": (
        "Orders to the search or node that runs on a store.",
        {
            "status": ("control:status", "What it is doing."),
            "pause": ("control:pause", "Begin no further training."),
            "resume": ("control:resume", "Go on after a pause."),
            "stop": ("control:stop", "End it, as Ctrl-C does."),
            "verify": ("control:verify", "Score a genome on one more seed, or check a claim now."),
            "queue": ("control:queue", "Train the genome of a JSON file next."),
        },
    ),
    "peers": (
        "Peers of a node, and what it makes of them.",
        {
            "list": ("peers:list_", "Every peer that was heard of: standing, checks, claims."),
            "show": ("peers:show", "One peer: counts, bans with their evidence, claims."),
            "ban": ("peers:ban", "Listen to a peer no more for some days."),
            "unban": ("peers:unban", "Lift the bans of a peer."),
        },
    ),
    "claim": (
        "Claims of peers, and one's own.",
        {"show": ("claim:show", "What a claim says, and what was found of it.")},
    ),
    "identity": (
        "Who this node is to its peers.",
        {
            "show": ("identity:show", "This node's peer id; makes its key if there is none."),
            "backup": ("identity:backup", "Write a copy of this node's private key."),
            "restore": ("identity:restore", "Take over the identity of a copy."),
        },
    ),
    "config": (
        "Settings and where they come from.",
        {
            "show": ("config:show", "Every setting, its value and its origin."),
            "init": ("config:init", "Write an eqmesh.toml to start from."),
        },
    ),
}


def make_app(named: Sequence[str] = ()) -> App:
    """The application. The command that starts `named` keeps its own help; others show one line of it.

    Only so can `eqmesh --help` list commands without loading them.
    """
    root = App(
        name="eqmesh",
        version=__version__,
        help="Search for good Equilibrium Propagation networks, on real data, with local learning rules.",
        help_epilogue="Example: `eqmesh search --task digits --evaluations 60 --seed 1`",
    )
    root.register_install_completion_command(add_to_startup=False)
    for noun, (about_noun, verbs) in _COMMANDS.items():
        group = root
        if noun:
            group = App(name=noun, help=about_noun, help_epilogue="")
            root.command(group)
        for verb, (target, about) in verbs.items():
            path = [noun, verb] if noun else [verb]
            own = list(named[: len(path)]) == path
            # By import string, so that no import goes upwards: what a mesh or a page needs lies above this package.
            module = target if target.startswith(("bootstrap.", "dashboard.")) else f"node.commands.{target}"
            group.command(module, name=verb, help=None if own else about, help_epilogue="")
    return root


app = make_app()


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command and end the process with its exit code."""
    tokens = list(sys.argv[1:] if arguments is None else arguments)
    try:
        with _ended_alike():
            code = make_app(tokens)(tokens, result_action="return_value")
    except BaseException as error:
        code = _code_of(error)
        if code is None:
            raise
    sys.exit(code if isinstance(code, int) else 0)


@contextmanager
def _ended_alike() -> Iterator[None]:
    """Let SIGTERM end a command as Ctrl-C does, also while it starts and takes no signals itself."""
    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        # Ctrl-C is ignored, in the background of a script for one: SIGTERM must go on ending the process.
        yield
        return
    before = signal.signal(signal.SIGTERM, lambda _number, _frame: signal.raise_signal(signal.SIGINT))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _code_of(error: BaseException) -> int | None:
    """Tell the person what went wrong and give the exit code; None for what must not happen."""
    found = leaves(error)  # tasks that run side by side report in groups
    if any(isinstance(leaf, KeyboardInterrupt) for leaf in found):
        return 130
    if all(isinstance(leaf, BrokenPipeError) for leaf in found):
        # The reader of a pipe has seen enough; nothing is left to be told, not even at exit.
        sys.stderr.close()
        return 0
    if not all(isinstance(leaf, EqmeshError | OSError) for leaf in found):
        return None
    for text in sorted({_words(leaf) for leaf in found}):
        sys.stderr.write(f"eqmesh: {text}\n")
    return 1


def _words(error: BaseException) -> str:
    if not isinstance(error, OSError):
        return str(error)
    where = f"{error.filename}: " if error.filename is not None else ""
    return (
        f"{where}{error.strerror or error}. Name another file or folder, or give the right to use this one."
    )
