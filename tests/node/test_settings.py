import tomllib
from pathlib import Path

import msgspec
import pytest

from node.errors import SettingsError
from node.settings import FILE_NAME, Settings, calibration_path, describe, resolve, template


def test_flags_go_over_environment_over_file_over_defaults(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_text("seed = 1\nworkers = 1\npopulation = 8\n")
    environ = {"EQMESH_SEED": "2", "EQMESH_WORKERS": "2"}
    found = resolve({"seed": 3, "task": None}, folder=tmp_path, environ=environ)
    assert (found.settings.seed, found.settings.workers, found.settings.population) == (3, 2, 8)
    assert found.settings.task == Settings().task
    origins = [found.origins[name] for name in ("seed", "workers", "population", "task")]
    assert origins == ["flag", "environment", FILE_NAME, "default"]


@pytest.mark.parametrize(("text", "value"), [("1", True), ("true", True), ("No", False), ("0", False)])
def test_a_switch_in_the_environment(tmp_path: Path, text: str, value: bool) -> None:
    found = resolve({}, folder=tmp_path, environ={"EQMESH_REPRODUCIBLE": text})
    assert found.settings.reproducible is value


@pytest.mark.parametrize(
    "text", ["/ip4/192.0.2.1/tcp/1,/ip4/192.0.2.2/tcp/2", "/ip4/192.0.2.1/tcp/1 /ip4/192.0.2.2/tcp/2"]
)
def test_a_list_in_the_environment_is_separated_by_commas_or_spaces(tmp_path: Path, text: str) -> None:
    found = resolve({}, folder=tmp_path, environ={"EQMESH_LISTEN": text})
    assert found.settings.listen == ("/ip4/192.0.2.1/tcp/1", "/ip4/192.0.2.2/tcp/2")


def test_a_list_in_the_file_is_a_list(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_text('listen = ["/ip4/127.0.0.1/tcp/1"]\njoin = []\n')
    found = resolve({}, folder=tmp_path, environ={}).settings
    assert (found.listen, found.join) == (("/ip4/127.0.0.1/tcp/1",), ())


@pytest.mark.parametrize(
    ("flags", "environ", "file", "said"),
    [
        ({}, {"EQMESH_WORKRES": "1"}, "", "did you mean 'workers'"),
        ({}, {}, "evaluatons = 3", "did you mean 'evaluations'"),
        ({}, {}, "evaluations = 0", ">= 1"),
        ({}, {}, 'evaluations = "many"', "evaluations"),
        ({}, {}, "evaluations = ", "TOML"),
        ({"seed": -1}, {}, "", "seed of the run"),
        ({"arithmetic": "fp8"}, {}, "", "fp32, bf16 or exact-1"),
        ({"check_share": 0.5}, {}, "", "share of the compute"),
        ({}, {}, "listen = 4001", "addresses to listen at"),
        ({}, {"EQMESH_MINUTES": "nan?"}, "", "minutes"),
    ],
)
def test_a_bad_setting_is_named_with_what_to_do(
    tmp_path: Path, flags: dict[str, object], environ: dict[str, str], file: str, said: str
) -> None:
    (tmp_path / FILE_NAME).write_text(file)
    with pytest.raises(SettingsError, match=said.replace("?", r"\?")):
        resolve(flags, folder=tmp_path, environ=environ)


def test_variables_of_the_data_cache_are_no_settings(tmp_path: Path) -> None:
    resolve({}, folder=tmp_path, environ={"EQMESH_DATA_DIR": "x", "EQMESH_STATE_DIR": "y"})


def test_the_template_holds_every_key_at_its_default(tmp_path: Path) -> None:
    text = "\n".join(line.removeprefix("# ") for line in template().splitlines() if " = " in line)
    assert msgspec.convert(tomllib.loads(text), Settings) == Settings()
    assert set(tomllib.loads(text)) == set(Settings.__struct_fields__)
    (tmp_path / FILE_NAME).write_text(template())
    assert resolve({}, folder=tmp_path, environ={}).settings == Settings()


def test_every_setting_says_what_it_means() -> None:
    assert set(describe()) == set(Settings.__struct_fields__)
    assert all(len(about) > 8 for about in describe().values())


def test_the_state_folder_can_be_moved(tmp_path: Path) -> None:
    assert calibration_path({"EQMESH_STATE_DIR": str(tmp_path)}).parent == tmp_path
