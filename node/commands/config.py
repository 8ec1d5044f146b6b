"""`eqmesh config`: settings and where they come from."""

import os
from pathlib import Path

from node import output
from node.commands.options import Json
from node.errors import SettingsError
from node.settings import FILE_NAME, Settings, describe, resolve, template

__all__ = ["init", "show"]


def show(*, json: Json = False) -> None:
    """Print every setting, its value, where it came from and what it means.

    Example: EQMESH_WORKERS=1 eqmesh config show
    """
    found = resolve({}, folder=Path.cwd(), environ=os.environ)
    about = describe()
    values = {name: getattr(found.settings, name) for name in Settings.__struct_fields__}
    if json:
        output.write_json(
            {name: {"value": value, "origin": found.origins[name]} for name, value in values.items()}
        )
        return
    output.write_table(
        ["setting", "value", "origin", "meaning"],
        [[name, str(value), found.origins[name], about[name]] for name, value in values.items()],
    )


def init() -> None:
    """Write an eqmesh.toml with every key at its default, commented out, into the current folder.

    Example: eqmesh config init
    """
    path = Path(FILE_NAME)
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(template())
    except FileExistsError as error:
        raise SettingsError(
            f"{FILE_NAME} exists already and stays as it is. Edit it, or remove it first."
        ) from error
    output.say(f"wrote {FILE_NAME}")
