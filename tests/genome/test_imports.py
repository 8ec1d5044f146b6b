import subprocess
import sys

import genome

HEAVY = ("numpy", "deap", "pymoo", "networkx", "torch", "scipy", "trio", "sqlite3", "subprocess", "socket")
WATCH = """
import sys
import genome
genome.preset("deep").id
genome.Lineage, genome.make_strategy
print(*sorted(set(sys.modules)))
"""


def test_importing_genome_is_light() -> None:
    done = subprocess.run([sys.executable, "-c", WATCH], capture_output=True, text=True, check=True)
    assert not set(HEAVY) & set(done.stdout.split())


def test_what_is_public_exists() -> None:
    assert all(hasattr(genome, name) for name in genome.__all__)
    assert sorted(set(genome.__all__)) == sorted(genome.__all__)
