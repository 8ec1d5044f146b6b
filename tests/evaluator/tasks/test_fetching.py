import contextlib
import gzip
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from evaluator.errors import DataError
from evaluator.tasks.data import fetch, read_file
from evaluator.tasks.data.mirrors import Bounded, download
from evaluator.tasks.data.packages import run
from tests.evaluator.tasks.conftest import ALPHA, BETA, DEBIAN, NPM, data_file, debian_tar, npm_archive

ROOT = Path(__file__).parents[3]


def serve(server, prefix: str = "/", alpha: bytes = ALPHA, beta: bytes = BETA) -> str:
    server.give(f"{prefix}alpha.gz", gzip.compress(alpha))
    server.give(f"{prefix}beta.gz", gzip.compress(beta))
    return server.url + prefix


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_mirror_fills_the_cache_with_decompressed_files(tiny, server, own_folder):
    tiny(mirrors=(serve(server),))
    told = []
    done = fetch("tiny", tell=told.append)
    assert (own_folder / "tiny" / "alpha").read_bytes() == ALPHA
    assert (own_folder / "tiny" / "beta").read_bytes() == BETA
    assert names(own_folder / "tiny") == ["alpha", "beta"]
    assert done.folder == str(own_folder / "tiny")
    assert done.sources == {"alpha": server.url + "/", "beta": server.url + "/"}
    assert done.failures == ()
    assert told == [f"tiny: trying {server.url}/"]
    assert read_file("tiny", "alpha") == ALPHA


def test_a_folder_given_by_hand_is_filled(tiny, server, tmp_path, own_folder):
    tiny(mirrors=(serve(server),))
    fetch("tiny", tmp_path / "mine")
    assert names(tmp_path / "mine" / "tiny") == ["alpha", "beta"]
    assert not own_folder.exists()


def test_a_whole_cache_is_left_alone(tiny, server):
    tiny(mirrors=(serve(server),))
    fetch("tiny")
    asked = len(server.asked)
    done = fetch("tiny")
    assert done.sources == {"alpha": "cache", "beta": "cache"}
    assert len(server.asked) == asked


def test_a_whole_cache_needs_no_right_to_write(tiny, server, monkeypatch):
    tiny(mirrors=(serve(server),))
    fetch("tiny")
    monkeypatch.setattr("tempfile.TemporaryFile", None)
    monkeypatch.setattr("tempfile.mkstemp", None)
    assert fetch("tiny").sources["alpha"] == "cache"


def test_a_damaged_file_is_named_and_replaced_and_the_others_stay(tiny, server, own_folder):
    tiny(mirrors=(serve(server),))
    fetch("tiny")
    (own_folder / "tiny" / "beta").write_bytes(b"bet!")
    done = fetch("tiny")
    assert done.sources == {"alpha": "cache", "beta": server.url + "/"}
    assert len(done.failures) == 1 and done.failures[0].startswith(
        f"cache: {own_folder}/tiny/beta: expected beta"
    )
    assert (own_folder / "tiny" / "beta").read_bytes() == BETA


def test_this_machine_comes_before_mirrors_and_mirrors_before_packages(
    tiny, server, tmp_path, own_folder, clients
):
    (tmp_path / "system").mkdir()
    (tmp_path / "system" / "alpha.gz").write_bytes(gzip.compress(ALPHA))
    server.give("/one/beta.gz", gzip.compress(BETA))
    tiny(
        system_folder=str(tmp_path / "system"),
        mirrors=(f"{server.url}/one/", f"{server.url}/two/"),
        packages=(NPM,),
    )
    done = fetch("tiny")
    assert done.sources == {"alpha": str(tmp_path / "system"), "beta": f"{server.url}/one/"}
    assert server.asked == ["/one/beta.gz"]
    assert done.failures == (f"{tmp_path}/system: beta is not there",)


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        (
            lambda server: server.give("/bad/alpha.gz", b"<html>sign in</html>"),
            "expected 3000 bytes of alpha, got 20",
        ),
        (lambda server: server.give("/bad/alpha.gz", gzip.compress(b"A" + ALPHA[1:])), "with SHA-256"),
        (lambda server: server.give("/bad/alpha.gz", gzip.compress(ALPHA)[:-9]), "does not decompress"),
        (lambda server: server.give("/bad/alpha.gz", gzip.compress(ALPHA), 503), "503"),
        (lambda server: None, "404"),
    ],
)
def test_the_next_mirror_is_tried_after_a_bad_one(tiny, server, bad, why):
    bad(server)
    tiny(mirrors=(f"{server.url}/bad/", serve(server, "/good/")))
    done = fetch("tiny")
    assert set(done.sources.values()) == {f"{server.url}/good/"}
    assert (
        len(done.failures) == 1
        and done.failures[0].startswith(f"{server.url}/bad/: ")
        and why in done.failures[0]
    )
    assert server.asked == ["/bad/alpha.gz", "/good/alpha.gz", "/good/beta.gz"]


def test_the_next_mirror_is_tried_after_a_dead_one(tiny, server, dead_mirror):
    tiny(mirrors=(dead_mirror, serve(server)))
    done = fetch("tiny")
    assert set(done.sources.values()) == {f"{server.url}/"}
    assert "Connection refused" in done.failures[0]


def test_what_a_mirror_gave_before_it_failed_is_kept(tiny, server):
    server.give("/half/alpha.gz", gzip.compress(ALPHA))
    tiny(mirrors=(f"{server.url}/half/", serve(server, "/good/")))
    assert fetch("tiny").sources == {"alpha": f"{server.url}/half/", "beta": f"{server.url}/good/"}
    assert server.asked == ["/half/alpha.gz", "/half/beta.gz", "/good/beta.gz"]


def test_a_mirror_that_sends_it_decompressed_will_do(tiny, server):
    server.give("/alpha.gz", ALPHA)
    server.give("/beta.gz", BETA)
    tiny(mirrors=(f"{server.url}/",))
    assert fetch("tiny").failures == ()


def test_when_all_fail_each_reason_is_told_and_what_to_do(tiny, server, dead_mirror, own_folder, clients):
    tiny(mirrors=(dead_mirror, f"{server.url}/"), packages=(NPM, DEBIAN), system_folder="/nowhere")
    with pytest.raises(DataError) as caught:
        fetch("tiny")
    text = str(caught.value)
    expected = (
        "/nowhere: alpha is not",
        f"{dead_mirror}: ",
        "404",
        "npm is not installed",
        "apt-get is not installed",
    )
    places = [text.index(each) for each in expected]
    assert places == sorted(places)
    assert "'tiny' could not be fetched" in text
    assert f"(alpha, beta) into {own_folder}/tiny by hand" in text
    assert "EQMESH_DATA_OFFLINE" not in text
    assert names(own_folder / "tiny") == []


def test_offline_leaves_this_machine_only(tiny, server, tmp_path, monkeypatch, clients):
    clients("npm", "raise SystemExit('called')")
    (tmp_path / "system").mkdir()
    (tmp_path / "system" / "alpha").write_bytes(ALPHA)
    tiny(mirrors=(serve(server),), packages=(NPM,), system_folder=str(tmp_path / "system"))
    monkeypatch.setenv("EQMESH_DATA_OFFLINE", "1")
    with pytest.raises(DataError, match="EQMESH_DATA_OFFLINE is set"):
        fetch("tiny")
    assert server.asked == []
    (tmp_path / "system" / "beta").write_bytes(BETA)
    assert set(fetch("tiny").sources.values()) == {"cache", str(tmp_path / "system")}
    monkeypatch.setenv("EQMESH_DATA_OFFLINE", "0")
    assert set(fetch("tiny").sources.values()) == {"cache"}


def test_a_cache_that_cannot_be_written_is_told_before_anything_is_asked(tiny, server, tmp_path):
    tiny(mirrors=(serve(server),))
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DataError, match=r"must be writable, got: Not a directory. Set EQMESH_DATA_DIR"):
        fetch("tiny", tmp_path / "file")
    assert server.asked == []


def test_a_disk_that_fills_up_ends_the_fetch_at_once(tiny, server, monkeypatch):
    tiny(mirrors=(serve(server, "/one/"), serve(server, "/two/")))

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(DataError, match=r"must be writable, got: No space left on device"):
        fetch("tiny")
    assert server.asked == ["/one/alpha.gz"]


def test_an_unknown_data_set_is_refused():
    with pytest.raises(DataError, match="Did you mean 'fashion-mnist'"):
        fetch("fashion_mnist")


def test_a_bundled_data_set_is_checked_and_not_copied(own_folder):
    done = fetch("digits")
    assert done.sources == {"digits.csv": "bundled"}
    assert Path(done.folder).parts[-3:] == ("sklearn", "datasets", "data")
    assert not own_folder.exists()


def test_npm_packs_the_pinned_version(tiny, tmp_path, clients, own_folder):
    archive = npm_archive(tmp_path)
    clients(
        "npm",
        f"import shutil; open({str(tmp_path / 'words')!r}, 'w').write(' '.join(sys.argv[1:]))\n"
        f"shutil.copy({str(archive)!r}, '.')",
    )
    tiny(packages=(NPM,))
    done = fetch("tiny")
    assert (tmp_path / "words").read_text() == "pack tiny-loader@1.2.3 --ignore-scripts"
    assert done.sources["alpha"] == "npm pack tiny-loader@1.2.3 --ignore-scripts"
    assert (own_folder / "tiny" / "alpha").read_bytes() == ALPHA


def test_a_debian_package_is_downloaded_and_opened(tiny, tmp_path, clients, own_folder):
    contents = debian_tar(tmp_path)
    clients(
        "apt-get",
        "assert sys.argv[1:] == ['download', 'dataset-tiny']; open('dataset-tiny_1_all.deb', 'w').close()",
    )
    clients(
        "dpkg-deb",
        "assert sys.argv[1:] == ['--fsys-tarfile', 'dataset-tiny_1_all.deb']\n"
        f"sys.stdout.buffer.write(open({str(contents)!r}, 'rb').read())",
    )
    tiny(packages=(DEBIAN,))
    assert fetch("tiny").sources["beta"] == "apt-get download dataset-tiny"
    assert (own_folder / "tiny" / "beta").read_bytes() == BETA


@pytest.mark.parametrize(
    ("code", "why"),
    [
        ("sys.exit('npm error 404 no such package')", "ended with 1: npm error 404 no such package"),
        ("sys.exit(7)", "ended with 7: nothing on standard error"),
        ("pass", r"expected one \*.tgz from the client, got \[\]"),
        ("open('a.tgz', 'w').close(), open('b.tgz', 'w').close()", r"got \['a.tgz', 'b.tgz'\]"),
        ("open('a.tgz', 'w').write('not an archive')", "a.tgz: expected package/data/alpha in the archive"),
        (
            "import shutil; shutil.copy({other!r}, '.')",
            "expected package/data/alpha in the archive: .*not found",
        ),
        (
            "import shutil; shutil.copy({wrong!r}, '.')",
            "tiny-loader-1.2.3.tgz: package/data/beta: expected beta with",
        ),
    ],
)
def test_a_client_that_fails_is_told(tiny, tmp_path, clients, own_folder, code, why):
    (tmp_path / "wrong").mkdir()
    wrong = npm_archive(tmp_path / "wrong", beta=b"bet!")
    other = debian_tar(tmp_path).rename(tmp_path / "other.tgz")
    clients("npm", code.format(wrong=str(wrong), other=str(other)))
    tiny(packages=(NPM,))
    with pytest.raises(DataError, match=why):
        fetch("tiny")
    assert names(own_folder / "tiny") == []


def test_a_client_that_hangs_is_ended_with_all_that_it_started(tmp_path, clients):
    clients(
        "npm",
        "import pathlib, signal, subprocess, sys\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import signal; signal.pause()'])\n"
        "pathlib.Path('part').write_text(str(child.pid)); pathlib.Path('part').rename('child'); signal.pause()",
    )
    with pytest.raises(DataError, match=r"`npm pack` did not end within 2 s"):
        run(["npm", "pack"], tmp_path, 2)
    child = Path("/proc", (tmp_path / "child").read_text(), "stat")
    ended = time.monotonic() + 10
    while child.exists() and child.read_text().split()[2] not in "ZX":
        assert time.monotonic() < ended
        threading.Event().wait(0.01)


def test_a_mirror_that_falls_silent_is_left(server):
    server.answers["/alpha.gz"] = lambda handler: server.closing.wait(20)
    with pytest.raises(DataError, match=r"/alpha.gz: .*timed out"):
        download(data_file("alpha", ALPHA), server.url + "/", timeout_s=0.2)


def test_a_mirror_that_never_ends_is_left(server):
    def flood(handler) -> None:
        handler.send_response(200)
        handler.end_headers()
        while not server.closing.is_set():
            handler.wfile.write(bytes(65536))

    server.answers["/alpha.gz"] = flood
    with pytest.raises(DataError, match="expected at most 7096 bytes, got more"):
        download(data_file("alpha", ALPHA), server.url + "/")


def test_a_mirror_that_trickles_is_left(monkeypatch):
    now = [0.0]
    # Only this module's clock: other threads of the process wait by the real one.
    clock = SimpleNamespace(monotonic=lambda: now[0])
    monkeypatch.setattr("evaluator.tasks.data.mirrors.time", clock)
    sink = Bounded(16 * 1024 * 100, timeout_s=10)
    now[0] = 109.0
    sink.take(b"in time")
    now[0] = 111.0
    with pytest.raises(DataError, match="expected at least 16384 bytes/s, got 15 bytes in all"):
        sink.take(b"too late")


def test_a_mirror_that_sends_a_byte_at_a_time_is_left_at_the_deadline(server, monkeypatch):
    monkeypatch.setattr("evaluator.tasks.data.mirrors.SLOWEST_BYTES_PER_S", 1e9)

    def trickle(handler) -> None:
        handler.send_response(200)
        handler.end_headers()
        with contextlib.suppress(OSError):
            while not server.closing.wait(0.02):
                handler.wfile.write(b"x")
                handler.wfile.flush()

    server.answers["/alpha.gz"] = trickle
    with pytest.raises(DataError, match=r"bytes/s, got [0-9]{1,3} bytes in all"):
        download(data_file("alpha", ALPHA), server.url + "/", timeout_s=0.5)


FETCH = """
import sys
from evaluator.tasks.data import catalogue, fetch
import msgspec
entry = msgspec.json.decode(sys.argv[1], type=catalogue.Entry)
catalogue.CATALOGUE["tiny"] = entry
print(fetch("tiny").sources)
"""


def test_two_processes_may_fetch_at_once(tiny, server, own_folder):
    import msgspec

    both = threading.Barrier(2, timeout=240)

    def together(content: bytes):
        def answer(handler) -> None:
            both.wait()
            handler.send_response(200)
            handler.end_headers()
            handler.wfile.write(gzip.compress(content))

        return answer

    server.answers["/alpha.gz"], server.answers["/beta.gz"] = together(ALPHA), together(BETA)
    made = tiny(mirrors=(server.url + "/",))
    words = [sys.executable, "-c", FETCH, msgspec.json.encode(made).decode()]
    options = {"cwd": ROOT, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(words, **options) as first, subprocess.Popen(words, **options) as second:
        for process in (first, second):
            out, err = process.communicate(timeout=240)
            assert process.returncode == 0, err
            assert out.count(server.url) == 2
    assert sorted(server.asked) == ["/alpha.gz"] * 2 + ["/beta.gz"] * 2
    assert names(own_folder / "tiny") == ["alpha", "beta"]
    assert read_file("tiny", "alpha") == ALPHA
