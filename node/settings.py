"""Settings with the origin of each value: flags over environment over eqmesh.toml over defaults."""

import difflib
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, get_origin

import msgspec
import platformdirs
from msgspec import Meta

from evaluator.jobs import Arithmetic
from node.errors import SettingsError

__all__ = ["FILE_NAME", "Settings", "Settled", "calibration_path", "identity_path", "resolve", "template"]

FILE_NAME = "eqmesh.toml"
_PREFIX = "EQMESH_"
# Variables of the environment that belong to other parts of eqmesh.
_ELSEWHERE = frozenset({"EQMESH_DATA_DIR", "EQMESH_DATA_OFFLINE", "EQMESH_STATE_DIR"})


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a search or a node does. Every field is a flag, an EQMESH_ variable and a key of eqmesh.toml.

    A list in a variable, or of a flag that is given once, is separated by commas or spaces.
    """

    store: Annotated[str, Meta(description="file that holds the record")] = "eqmesh.db"
    task: Annotated[str, Meta(description="name of a task, or my.module:MyTask")] = "digits"
    tier: Annotated[str, Meta(description="fidelity tier of the task; empty for the task's own default")] = ""
    space: Annotated[
        str,
        Meta(
            description="space to search: mlp, family, cube, conv or my.module:SPACE; empty for the task's own"
        ),
    ] = ""
    objectives: Annotated[
        tuple[str, ...],
        Meta(
            description="objectives of a search: the task's own by name, and of networks robustness, noise, damage, "
            "lyapunov and energy; empty for the task's own"
        ),
    ] = ()
    strategy: Annotated[str, Meta(description="strategy: nsga2, random or map_elites")] = "nsga2"
    evaluations: Annotated[
        int, Meta(description="evaluations of the whole run, baselines included", ge=1)
    ] = 120
    minutes: Annotated[float, Meta(description="stop asking after so many minutes; 0 for no limit", ge=0)] = (
        0.0
    )
    workers: Annotated[int, Meta(description="worker processes; 0 for one a core", ge=0, le=1024)] = 0
    seed: Annotated[int, Meta(description="seed of the run", ge=0, le=2**63 - 1)] = 0
    arithmetic: Annotated[Arithmetic, Meta(description="arithmetic class: fp32, bf16 or exact-1")] = "fp32"
    backend: Annotated[
        str,
        Meta(description="backend that trains Equilibrium Propagation networks, such as triton, or auto"),
    ] = "auto"
    reproducible: Annotated[
        bool, Meta(description="give each ask a fixed look-behind, so that timing decides nothing")
    ] = False
    population: Annotated[int, Meta(description="genomes that nsga2 keeps as parents", ge=4, le=4096)] = 16
    rescore: Annotated[
        int, Meta(description="fresh seeds on which winners are scored again; 0 for none", ge=0, le=100)
    ] = 3
    worker_memory: Annotated[int, Meta(description="MiB that a worker may write", ge=256)] = 2048
    genome_memory: Annotated[
        int, Meta(description="MiB that a genome's training may need before it is refused", ge=1)
    ] = 1024
    genome_macs: Annotated[
        float, Meta(description="multiply-accumulates a training sample that a genome may need", gt=0)
    ] = 1.5e7
    deadline: Annotated[float, Meta(description="seconds after which an evaluation is ended", gt=0)] = 600.0
    nice: Annotated[int, Meta(description="how far workers lower their priority", ge=0, le=19)] = 5
    keep_weights: Annotated[
        bool, Meta(description="keep the weights of every genome, not of the front alone")
    ] = False
    join: Annotated[
        tuple[str, ...], Meta(description="addresses of peers to call first, each ending in /p2p/ID")
    ] = ()
    listen: Annotated[
        tuple[str, ...], Meta(description="addresses to listen at; port 0 takes a free one")
    ] = ("/ip4/0.0.0.0/tcp/0",)
    advertise: Annotated[
        tuple[str, ...],
        Meta(description="addresses to tell others in place of those listened at, behind a forwarded port"),
    ] = ()
    built_in: Annotated[bool, Meta(description="call the addresses that come with the program")] = True
    lan: Annotated[bool, Meta(description="find peers on the local network, and be found there")] = False
    check_share: Annotated[
        float,
        Meta(description="share of the compute that checks of others' claims may take", ge=0.05, le=0.25),
    ] = 0.15
    claim_share: Annotated[
        float,
        Meta(
            description="share of what trainings cost that is spent on training again what is claimed",
            gt=0,
            le=1,
        ),
    ] = 0.25
    evidence_disk: Annotated[int, Meta(description="MiB on disk for the evidence of own claims", ge=16)] = (
        2048
    )


class Settled(msgspec.Struct, frozen=True):
    """Settings, and for each field where its value came from."""

    settings: Settings
    origins: dict[str, str]


def resolve(flags: Mapping[str, Any], *, folder: Path, environ: Mapping[str, str]) -> Settled:
    """Merge flags (None is unset), EQMESH_* variables and `folder`/eqmesh.toml over the defaults.

    Raises SettingsError for an unknown key, naming the nearest one, or for a value out of range.
    """
    # Any: values of every type meet here before msgspec checks them.
    values: dict[str, Any] = {}
    origins = dict.fromkeys(Settings.__struct_fields__, "default")
    sources: list[tuple[str, Mapping[str, Any], bool]] = [
        (FILE_NAME, _read_file(folder / FILE_NAME), True),
        ("environment", _read_environment(environ), False),
        ("flag", {name: value for name, value in flags.items() if value is not None}, True),
    ]
    for origin, found, strict in sources:
        for name, value in found.items():
            values[name] = _convert(name, value, origin, strict=strict)
            origins[name] = origin
    return Settled(Settings(**values), origins)


def template() -> str:
    """An eqmesh.toml with every key, commented out at its default."""
    lines = [
        "# Settings of eqmesh; every key is optional. Flags and EQMESH_* variables go over this file.",
        "",
    ]
    fields = msgspec.structs.fields(Settings)
    for field, (about, _) in zip(fields, (_describe(field.type) for field in fields), strict=True):
        lines += [f"# {about}", f"# {field.name} = {msgspec.json.encode(field.default).decode()}", ""]
    return "\n".join(lines)


def describe() -> dict[str, str]:
    """What each setting means, by name."""
    return {field.name: _describe(field.type)[0] for field in msgspec.structs.fields(Settings)}


def calibration_path(environ: Mapping[str, str] = os.environ) -> Path:
    """Where this machine's calibration is stored, under EQMESH_STATE_DIR or the user's state folder."""
    return _state_folder(environ) / "calibration.json"


def identity_path(environ: Mapping[str, str] = os.environ) -> Path:
    """Where this node's private key is stored, beside the calibration."""
    return _state_folder(environ) / "identity.key"


def _state_folder(environ: Mapping[str, str]) -> Path:
    return Path(environ.get("EQMESH_STATE_DIR") or platformdirs.user_state_dir("eqmesh", appauthor=False))


def _describe(annotation: Any) -> tuple[str, Any]:  # Any: an annotation may be any form
    metas = [meta for meta in annotation.__metadata__ if isinstance(meta, Meta)]
    return str(metas[0].description), annotation.__origin__


def _convert(name: str, value: Any, origin: str, *, strict: bool) -> Any:  # Any: see resolve
    fields = {field.name: field for field in msgspec.structs.fields(Settings)}
    if name not in fields:
        near = difflib.get_close_matches(name, fields, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(fields)}."
        raise SettingsError(f"{origin} sets {name!r}, which is no setting; {hint}")
    kind = _describe(fields[name].type)[1]
    if origin != FILE_NAME and isinstance(value, str) and get_origin(kind) is tuple:
        value = value.replace(",", " ").split()
    if not strict and isinstance(value, str) and kind is bool:
        value = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}.get(
            value.lower(), value
        )
    try:
        return msgspec.convert(value, fields[name].type, strict=strict)
    except msgspec.ValidationError as error:
        raise SettingsError(
            f"{origin} sets {name} = {value!r}: {error}. {_describe(fields[name].type)[0]}."
        ) from error


def _read_file(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise SettingsError(
            f"{path} cannot be read as TOML: {error}. `eqmesh config init` writes a fresh one."
        ) from error


def _read_environment(environ: Mapping[str, str]) -> dict[str, str]:
    return {
        name.removeprefix(_PREFIX).lower(): value
        for name, value in environ.items()
        if name.startswith(_PREFIX) and name not in _ELSEWHERE
    }
