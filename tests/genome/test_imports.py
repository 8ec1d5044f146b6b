import subprocess
import sys

import genome

HEAVY = ("numpy", "deap", "pymoo", "networkx", "torch", "scipy", "trio", "sqlite3", "subprocess", "socket")
WATCH = """
import sys, time
start = time.perf_counter()
import genome
taken = time.perf_counter() - start
genome.preset("deep").id
genome.Lineage, genome.make_strategy
print(taken, *sorted(set(sys.modules)))
"""


def test_importing_genome_is_light() -> None:
    taken = []
    for _ in range(3):
        done = subprocess.run([sys.executable, "-c", WATCH], capture_output=True, text=True, check=True)
        seconds, *modules = done.stdout.split()
        taken.append(float(seconds))
        assert not set(HEAVY) & set(modules)
    assert min(taken) < 0.15


def test_what_is_public_exists() -> None:
    assert all(hasattr(genome, name) for name in genome.__all__)
    assert sorted(set(genome.__all__)) == sorted(genome.__all__)
