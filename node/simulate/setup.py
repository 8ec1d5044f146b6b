"""What is simulated: how many nodes, for how long, who lies and how, and what the network loses. Pure."""

from typing import Final, Literal

import msgspec

from node.errors import SettingsError

__all__ = ["ATTACKS", "ROUND_S", "UNIT_S", "Attack", "Setup"]

UNIT_S: Final = 60.0
"""Virtual seconds of a training."""
ROUND_S: Final = 600.0
"""Virtual seconds of a round of trust: ten trainings of the search's worker."""

Attack = Literal[
    "inflate",  # accuracy 1 to 20 points too high; 3 in 10 show in the weights, the others in a replay only
    "sleeper",  # the same, after 20 to 80 honest rounds
    "lazy",  # attest without having replayed anything
    "slander",  # accuse honest claims
    "collude",  # vouch for each other's lies with leaves and receipts that the claimant gives
    "copy",  # claim what others found, with their weights and states
    "flood",  # claims of ever new identities
    "bomb",  # records that are malformed, stale, of others or of impossible size
    "all",  # inflate, half of them sleepers, collude, slander, lazy, and come back under new identities
]
ATTACKS: Final[tuple[Attack, ...]] = (
    "inflate",
    "sleeper",
    "lazy",
    "slander",
    "collude",
    "copy",
    "flood",
    "bomb",
    "all",
)


class Setup(msgspec.Struct, frozen=True, kw_only=True):
    """One simulation; equal ones give equal results.

    `liars` is their share of the nodes, `loss` the share of messages that never arrive. From round `split[0]` to
    `split[1]` half of the nodes cannot reach the others. A share `churn` of the nodes is away at any time, each for
    `away_rounds` at a time. Raises SettingsError for what cannot be.
    """

    nodes: int = 16
    rounds: int = 40
    liars: float = 0.0
    attack: Attack = "all"
    task: str = "synthetic"
    seed: int = 0
    loss: float = 0.0
    split: tuple[int, int] = (0, 0)
    churn: float = 0.0
    away_rounds: int = 10

    def __post_init__(self) -> None:
        for name, least, most in (("nodes", 1, 1000), ("rounds", 1, 10_000), ("away_rounds", 1, 10_000)):
            if not least <= getattr(self, name) <= most:
                raise SettingsError(f"{name} expects {least} to {most}, got {getattr(self, name)}.")
        for name in ("liars", "loss", "churn"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise SettingsError(f"{name} expects a share from 0 to 1, got {getattr(self, name)}.")
        if self.attack not in ATTACKS:
            raise SettingsError(f"attack expects one of {', '.join(ATTACKS)}, got {self.attack!r}.")
        if self.honest < 1:
            raise SettingsError(
                f"a simulation expects an honest node, got {self.nodes} nodes with a share {self.liars:g} of liars."
            )

    @property
    def liar_count(self) -> int:
        """How many of the nodes lie."""
        return round(self.nodes * self.liars)

    @property
    def honest(self) -> int:
        """How many of the nodes are honest."""
        return self.nodes - self.liar_count
