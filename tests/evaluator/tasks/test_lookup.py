import gzip
import json
from pathlib import Path

import msgspec
import pytest

from evaluator.errors import DataError
from evaluator.tasks.data import CATALOGUE, list_datasets, read_file, require, verify
from evaluator.tasks.data.catalogue import Bundled, entry
from tests.evaluator.tasks.conftest import ALPHA, BETA


def fill(folder: Path, alpha: bytes = ALPHA, beta: bytes = BETA, suffix: str = "") -> Path:
    folder.mkdir(parents=True)
    pack = gzip.compress if suffix else bytes
    (folder / f"alpha{suffix}").write_bytes(pack(alpha))
    (folder / f"beta{suffix}").write_bytes(pack(beta))
    return folder


def test_the_cache_is_read_first(tiny, tmp_path, own_folder):
    tiny(system_folder=str(fill(tmp_path / "system", alpha=b"other", suffix=".gz")))
    fill(own_folder / "tiny")
    assert read_file("tiny", "alpha") == ALPHA
    assert {state.place for state in verify("tiny")} == {"cache"}


def test_then_the_system_folder(tiny, tmp_path):
    folder = fill(tmp_path / "system", suffix=".gz")
    tiny(system_folder=str(folder))
    assert read_file("tiny", "alpha") == ALPHA
    alpha, beta = verify("tiny")
    assert (alpha.state, alpha.place, alpha.path) == ("ok", "system", str(folder / "alpha.gz"))
    assert beta.state == "ok"


def test_a_folder_given_by_hand_is_the_cache(tiny, tmp_path):
    tiny()
    fill(tmp_path / "mine" / "tiny")
    assert read_file("tiny", "beta", tmp_path / "mine") == BETA
    assert require("tiny", tmp_path / "mine") is None
    with pytest.raises(DataError):
        require("tiny")


def test_missing_data_name_the_files_the_places_and_the_command(tiny, tmp_path, own_folder):
    tiny(system_folder=str(tmp_path / "system"))
    fill(own_folder / "tiny")
    (own_folder / "tiny" / "beta").unlink()
    message = (
        f"data set 'tiny' is not on this machine: expected beta in {own_folder}/tiny or {tmp_path}/system. "
        "Run `eqmesh data fetch tiny`."
    )
    for attempt in (lambda: read_file("tiny", "beta"), lambda: require("tiny")):
        with pytest.raises(DataError) as caught:
            attempt()
        assert str(caught.value) == message


@pytest.mark.parametrize("wrong", [b"", ALPHA[:-1], b"A" + ALPHA[1:], ALPHA + b"."])
def test_a_damaged_cache_is_named_and_never_passed_over(tiny, tmp_path, own_folder, wrong):
    tiny(system_folder=str(fill(tmp_path / "system")))
    fill(own_folder / "tiny", alpha=wrong)
    with pytest.raises(
        DataError, match=r"damaged data set 'tiny': .*/tiny/alpha: .*Run `eqmesh data fetch tiny`"
    ):
        read_file("tiny", "alpha")
    alpha, beta = verify("tiny")
    assert (alpha.state, alpha.place, beta.state) == ("corrupt", "cache", "ok")
    assert "tiny/alpha" in alpha.problem


def test_a_damaged_system_copy_is_named(tiny, tmp_path):
    folder = fill(tmp_path / "system", beta=b"bet!", suffix=".gz")
    tiny(system_folder=str(folder))
    with pytest.raises(DataError, match=r"system/beta.gz: expected beta with SHA-256"):
        read_file("tiny", "beta")
    assert [state.state for state in verify("tiny")] == ["ok", "corrupt"]


def test_the_cache_is_verified_at_every_read(tiny, own_folder):
    tiny()
    fill(own_folder / "tiny")
    assert read_file("tiny", "alpha") == ALPHA
    (own_folder / "tiny" / "alpha").write_bytes(b"B" + ALPHA[1:])
    with pytest.raises(DataError, match="damaged"):
        read_file("tiny", "alpha")


def test_a_file_that_cannot_be_read_is_named(tiny, own_folder, monkeypatch):
    tiny()
    fill(own_folder / "tiny")

    def refuse(self: Path) -> bytes:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(DataError, match="tiny/alpha must be readable, got: Permission denied"):
        read_file("tiny", "alpha")
    assert verify("tiny")[0].state == "corrupt"


def test_the_list_tells_found_verified_and_missing_apart(tiny, tmp_path, own_folder, monkeypatch):
    tiny(system_folder=str(tmp_path / "system"))
    # The others are large, and reading them is what a list does.
    for name in ("cifar10", "digits", "fashion-mnist", "mnist"):
        monkeypatch.delitem(CATALOGUE, name)

    def row():
        (only,) = list_datasets()
        return only

    assert (row().found, row().verified, row().size_bytes) == ("", False, len(ALPHA) + len(BETA))
    assert row().get == "eqmesh data fetch tiny"
    fill(own_folder / "tiny", beta=b"bet!")
    assert (row().found, row().verified) == ("cache", False)
    (own_folder / "tiny" / "beta").unlink()
    assert row().found == ""
    fill(tmp_path / "system", suffix=".gz")
    assert (row().found, row().verified) == ("cache, system", True)


def test_rows_can_be_written_as_json():
    rows = json.loads(msgspec.json.encode(list_datasets()))
    assert [row["name"] for row in rows] == list(CATALOGUE)
    assert all(row["licence"] and row["about"] and row["get"] for row in rows)


def test_digits_are_found_inside_scikit_learn_without_importing_it():
    import subprocess
    import sys

    code = (
        "import sys; from evaluator.tasks.data import verify; s, = verify('digits'); "
        "print(s.state, s.place, 'sklearn' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["ok", "bundled", "False"]


def test_a_lacking_package_is_named(tiny):
    tiny(bundled=Bundled(distribution="scikit-learn", module="no_such_package", folder="data"))
    with pytest.raises(
        DataError, match=r"is part of scikit-learn, which lacks alpha\. Reinstall scikit-learn"
    ):
        read_file("tiny", "alpha")
    assert [state.state for state in verify("tiny")] == ["missing", "missing"]


@pytest.mark.parametrize(
    ("name", "hint"), [("mnits", "Did you mean 'mnist'"), ("imagenet-22k", "`eqmesh data list`")]
)
def test_an_unknown_data_set_suggests_the_nearest(name, hint):
    with pytest.raises(DataError, match=f"got '{name}'. {hint}"):
        entry(name)


def test_sizes_and_checksums_of_the_catalogue_are_well_formed():
    sums = [file.sha256 for known in CATALOGUE.values() for file in known.files]
    assert len(set(sums)) == len(sums) == 15
    assert all(len(each) == 64 and set(each) <= set("0123456789abcdef") for each in sums)
    assert CATALOGUE["mnist"].size_bytes == CATALOGUE["fashion-mnist"].size_bytes == 54_950_048
