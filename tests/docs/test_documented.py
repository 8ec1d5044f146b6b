"""Whatever a user can name stands in the documentation, on the page where it is looked for."""

import json
import re

import msgspec
import pytest

from evaluator.jobs import ARITHMETIC, Failure, FailureKind, Measured, Outcome, Settling
from evaluator.objectives import NETWORK_OBJECTIVES
from evaluator.tasks import resolve
from evaluator.tasks.registry import BUILT_IN
from genome import FORMATS, PRESETS, STRATEGIES, preset
from genome.birth import OPERATORS
from genome.genes import Choice
from genome.spaces import MLP
from kernels.diagnostics import Diagnostics
from node.cli import EXIT_CODES
from node.settings import _ELSEWHERE, Settings, template
from node.store.connection import open_reader
from node.store.writer import Writer
from tests.docs.pages import COMMANDS, PAGES, ROOT, arguments, blocks, options, prose, row, section

REFERENCE = PAGES["docs/commands.md"]
SETTINGS = PAGES["docs/settings.md"]
GENOMES = PAGES["docs/genomes.md"]
OBJECTIVES = PAGES["docs/objectives.md"]
SEARCH = PAGES["docs/search.md"]
STORE = PAGES["docs/store.md"]
KERNELS = PAGES["docs/kernels.md"]

AND_THOSE_OF_SEARCH = "And every option of `eqmesh search` but `--json`."
OF_A_SEARCH, OF_A_NODE = "## Settings of a search", "## Settings of a node"

OPTION = re.compile(r"(?<![\w-])--?[a-z][a-z-]*")


def spelled(text: str) -> set[str]:
    """Options that a table or a sentence names in backticks; a whole command of another program is not ours."""
    codes = [code for code in re.findall(r"`([^`]+)`", text) if not code.startswith("python -m ")]
    return {option for code in codes for option in OPTION.findall(code)}


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_of_a_command_is_described_and_no_other(name):
    text = section(REFERENCE, f"## `eqmesh {name}`")
    rows = {line.split("|")[1] for line in text.splitlines() if line.startswith("| `")}
    described = set().union(*(spelled(cell) for cell in rows)) if rows else set()
    if AND_THOSE_OF_SEARCH in text:
        described |= options(COMMANDS["search"]) - {"--json"}
    assert described == options(COMMANDS[name])
    for argument in arguments(COMMANDS[name]):
        assert any(f"`{argument}`" in cell for cell in rows)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_a_runnable_example_and_its_exit_codes(name):
    text = section(REFERENCE, f"## `eqmesh {name}`")
    commands = "".join(block.text for block in blocks(text) if block.language in ("console", "shell"))
    assert re.search(rf"^(\$ )?(EQMESH_\w+=\S+ )*eqmesh {name}\b", commands, flags=re.MULTILINE)
    assert "Exit code" in text


def test_every_command_takes_json_or_says_what_it_writes_instead():
    for name, command in COMMANDS.items():
        if "--json" in options(command):
            assert "JSON" in section(REFERENCE, f"## `eqmesh {name}`")


@pytest.mark.parametrize("page", PAGES)
def test_no_page_names_an_option_that_does_not_exist(page):
    known = set().union(*map(options, COMMANDS.values())) | {
        "--help",
        "-h",
        "--version",
        "--install-completion",
    }
    told = {option for option in spelled(prose(PAGES[page])) if option.startswith("--")}
    for block in blocks(PAGES[page]):
        for line in block.text.splitlines():
            if re.match(r"(\$ )?eqmesh ", line):
                told |= {
                    option for option in OPTION.findall(line.partition(" # ")[0]) if option.startswith("--")
                }
    assert told <= known


@pytest.mark.parametrize("field", msgspec.structs.fields(Settings), ids=lambda field: field.name)
def test_every_setting_is_described_with_its_variable_flag_and_default(field):
    flag = f"--{field.name.replace('_', '-')}"
    searched = flag in options(COMMANDS["search"])
    line = row(section(SETTINGS, OF_A_SEARCH if searched else OF_A_NODE), field.name)
    assert f"`EQMESH_{field.name.upper()}`" in line
    assert f"`{flag}`" in line and flag in options(COMMANDS["node run"])
    shown = "empty" if field.default in ("", ()) else f"`{json.dumps(field.default)}`".replace('"', "")
    assert shown in line


@pytest.mark.parametrize("field", msgspec.structs.fields(Settings), ids=lambda field: field.name)
def test_a_default_that_a_command_names_is_that_of_the_setting(field):
    flag = f"--{field.name.replace('_', '-')}"
    of = "search" if flag in options(COMMANDS["search"]) else "node run"
    text = section(REFERENCE, f"## `eqmesh {of}`")
    (line,) = [line for line in text.splitlines() if re.match(rf"\| `{flag}[` ]", line)]
    found = re.search(r"Default:? (\d+(?:\.\d+)?)\b", line)
    assert found is None or float(found[1]) == field.default, line


def test_no_setting_is_described_that_does_not_exist():
    rows = re.findall(r"^\| `(\w+)` \|.*`EQMESH_", SETTINGS, flags=re.MULTILINE)
    assert sorted(rows) == sorted(Settings.__struct_fields__)


@pytest.mark.parametrize("variable", sorted(_ELSEWHERE))
def test_every_other_variable_is_described(variable):
    assert row(SETTINGS, variable)


def test_every_variable_of_the_documentation_exists():
    known = {f"EQMESH_{name.upper()}" for name in Settings.__struct_fields__} | _ELSEWHERE
    for text in PAGES.values():
        assert set(re.findall(r"\bEQMESH_[A-Z]+(?:_[A-Z]+)*", text)) <= known


def test_the_template_of_settings_is_described():
    assert "eqmesh config init" in SETTINGS
    assert all(f"# {name} = " in template() for name in Settings.__struct_fields__)


@pytest.mark.parametrize("gene", MLP.genes, ids=lambda gene: gene.name)
def test_every_gene_is_described_with_bounds_and_condition(gene):
    line = row(section(GENOMES, "## Genes of the space `mlp/1`"), gene.name)
    if isinstance(gene, Choice):
        assert all(f"`{option}`" in line for option in gene.options)
    else:
        bounds = f"{gene.low:g} to {gene.high:g}".replace("e-0", "e-")
        assert bounds in line
        assert f"{len(gene.table)} levels" in line
    assert str(gene.when).replace(" and ", ", ") in line.replace("`", "").replace(" and ", ", ")


def test_no_gene_is_described_that_does_not_exist():
    table = section(GENOMES, "## Genes of the space `mlp/1`")
    assert re.findall(r"^\| `(\w+)` \|", table, flags=re.MULTILINE) == [gene.name for gene in MLP.genes]


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_is_described_with_its_id(name):
    assert f"`{preset(name).id[:12]}`" in row(section(GENOMES, "## Presets"), name)


@pytest.mark.parametrize("name", OPERATORS)
def test_every_operator_is_described(name):
    assert row(section(GENOMES, "## Births"), name)


@pytest.mark.parametrize("name", FORMATS)
def test_every_export_format_is_described(name):
    assert row(section(GENOMES, "## Lineage"), name)


@pytest.mark.parametrize("name", STRATEGIES)
def test_every_strategy_is_described(name):
    assert row(section(SEARCH, "## Strategies"), name)


@pytest.mark.parametrize("objective", NETWORK_OBJECTIVES, ids=lambda objective: objective.name)
def test_every_objective_is_described_with_its_unit_and_direction(objective):
    line = row(OBJECTIVES, objective.name)
    assert objective.unit in line
    assert {"max": "large", "min": "small"}[objective.direction] in line


@pytest.mark.parametrize("kind", FailureKind.__args__)
def test_every_kind_of_failure_is_described(kind):
    assert row(section(OBJECTIVES, "## Failures"), kind)


@pytest.mark.parametrize("arithmetic", ARITHMETIC)
def test_every_arithmetic_class_is_described(arithmetic):
    assert row(section(OBJECTIVES, "## Arithmetic classes"), arithmetic)


@pytest.mark.parametrize("name", BUILT_IN)
def test_every_task_and_tier_is_described(name):
    assert f"| `{name}` |" in PAGES["docs/tasks.md"]
    for tier in resolve(name).tiers:
        assert f"`{tier.name}`" in section(OBJECTIVES, "## Fidelity tiers")


@pytest.mark.parametrize("struct", [Outcome, Failure, Settling, Measured], ids=lambda struct: struct.__name__)
def test_every_field_of_a_result_is_described(struct):
    for name in struct.__struct_fields__:
        assert re.search(rf"^\|.*`(?:\w+\.)?{name}`.*\|", OBJECTIVES, flags=re.MULTILINE), name


def test_every_verdict_is_described():
    for verdict in Diagnostics.__annotations__["verdict"].__args__:
        assert f"`{verdict}`" in OBJECTIVES


@pytest.mark.parametrize("code", EXIT_CODES)
def test_every_exit_code_is_described(code):
    assert row(section(REFERENCE, "## Exit codes"), str(code))


def test_every_table_and_column_of_a_store_is_described(tmp_path):
    Writer(tmp_path / "a.db", now=lambda: 0.0).close()
    connection = open_reader(tmp_path / "a.db")
    tables = [
        name
        for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        if not name.startswith("sqlite_")
    ]
    for table in tables:
        text = section(STORE, f"### `{table}`")
        columns = [column for _, column, *_ in connection.execute(f"PRAGMA table_info({table})")]
        assert re.findall(r"^\| `(\w+)` \|", text, flags=re.MULTILINE) == columns
    connection.close()


def test_every_kind_of_event_is_described():
    sources = "".join(path.read_text() for path in (ROOT / "node").rglob("*.py"))
    kinds = set(re.findall(r'"((?:run|evaluation|genome)\.\w+|peer\.(?:un)?banned)"', sources))
    # What a mesh writes into the store; it says more to its log, which is not kept.
    kinds -= {"genome.spaces"}  # a module
    told = set(re.findall(r'books\.log\(\s*"([\w.]+)"', sources))
    assert kinds and told
    kinds |= told
    for kind in kinds:
        assert row(section(STORE, "## Events"), kind)


def test_schemes_orders_estimates_and_optimizers_are_described():
    for name in ("scheme", "order", "estimate", "optimizer", "output"):
        for option in MLP.by_name[name].table:
            assert f"`{option}`" in KERNELS, option


def test_readme_links_every_page():
    for page in PAGES:
        if page.startswith("docs/"):
            assert f"({page})" in PAGES["README.md"]
