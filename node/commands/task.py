"""`eqmesh task`: what networks are searched for."""

from evaluator.tasks import names, resolve
from node import output
from node.commands.options import Json

__all__ = ["list_"]


def list_(*, json: Json = False) -> None:
    """List tasks by name, with their objectives and fidelity tiers; * marks the default tier.

    Tasks of your own are named by import string: see docs/tasks.md.

    Example: eqmesh task list
    """
    tasks = {name: resolve(name) for name in names()}
    if json:
        output.write_json(
            [
                {
                    "name": name,
                    "kind": task.kind,
                    "doc": task.doc,
                    "space": task.space.id,
                    "objectives": [objective.name for objective in task.objectives],
                    "default_tier": task.default_tier,
                    "tiers": [
                        {
                            "name": tier.name,
                            "epochs": tier.epochs,
                            "train_limit": tier.train_limit,
                            "validation_limit": tier.validation_limit,
                            "doc": tier.doc,
                        }
                        for tier in task.tiers
                    ],
                }
                for name, task in tasks.items()
            ]
        )
        return
    output.write_table(
        ["task", "kind", "space", "objectives", "tiers", "about"],
        [
            [
                name,
                task.kind,
                task.space.id,
                " ".join(objective.name for objective in task.objectives),
                " ".join(tier.name + "*" * (tier.name == task.default_tier) for tier in task.tiers),
                task.doc,
            ]
            for name, task in tasks.items()
        ],
    )
