"""Files out of packages: fetched from a real HTTP index on this machine, checked, resumed, shared, refused."""

import dataclasses
import hashlib
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from fetch_server import SDIST, WHEEL, Index, sdist, serve, spec_for, wheel

from penjing.core.errors import FetchError
from penjing.core.events import Progress
from penjing.core.fetch import cache_dir, cached_package_files, fetch_package_files

LEAVES = hashlib.shake_256(b"leaves").digest(3_000_000)
EVIL = "raise SystemExit('a package was executed')"
DATA = wheel({"pots/leaves.bin": LEAVES, "../evil.txt": b"x", "pots/__init__.py": EVIL.encode(), "setup.py": b""})
SPEC = spec_for(WHEEL, DATA, {"pots/leaves.bin": "leaves.bin"})


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache, and a pip configuration that names nothing."""
    for name in [name for name in os.environ if name.startswith("PIP_") or name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PENJING_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def use(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", index.simple)


def leftovers(cache: Path) -> list[str]:
    """Everything in the cache but lock files, which are empty."""
    return sorted(path.name for path in cache.rglob("*") if path.is_file() and path.suffix != ".lock")


@pytest.fixture
def no_sockets(monkeypatch):
    """Any use of the network is an error."""

    def block() -> None:
        def refuse(*args, **kwargs):
            raise AssertionError("the network was touched")

        for name in ("socket", "create_connection", "getaddrinfo"):
            monkeypatch.setattr(socket, name, refuse)

    return block


def test_fetches_unpacks_only_what_is_named_and_reports_bytes(cache, monkeypatch):
    events: list[Progress] = []
    with serve(Index({WHEEL: DATA})) as index:
        use(index, monkeypatch)
        directory = fetch_package_files(SPEC, events.append)
    assert (directory / "leaves.bin").read_bytes() == LEAVES
    assert leftovers(cache) == ["fetched.json", "leaves.bin"]
    assert not list(cache.parent.rglob("evil.txt"))
    last = events[-1]
    assert (last.stage, last.unit, last.done, last.total) == ("fetch", "bytes", len(DATA), len(DATA))


def test_a_warm_cache_needs_no_network(cache, monkeypatch, no_sockets):
    with serve(Index({WHEEL: DATA})) as index:
        use(index, monkeypatch)
        first = fetch_package_files(SPEC)
    no_sockets()
    assert fetch_package_files(SPEC) == first
    assert fetch_package_files(SPEC, offline=True) == first
    with pytest.raises(AssertionError, match="network was touched"):  # the block itself works
        fetch_package_files(dataclasses.replace(SPEC, members={"pots/leaves.bin": ("other.bin", None)}))


def test_a_damaged_cache_is_not_used(cache, monkeypatch):
    with serve(Index({WHEEL: DATA})) as index:
        use(index, monkeypatch)
        directory = fetch_package_files(SPEC)
        (directory / "leaves.bin").write_bytes(LEAVES[:100])
        assert cached_package_files(SPEC) is None
        assert (fetch_package_files(SPEC) / "leaves.bin").read_bytes() == LEAVES


def test_offline_and_cold_says_what_to_do(cache, no_sockets):
    no_sockets()
    with pytest.raises(FetchError, match=r"not in the cache.*Next: run it once without the offline setting"):
        fetch_package_files(SPEC, offline=True)


def test_no_network_fails_soon_and_in_one_line(cache, monkeypatch):
    with socket.socket() as taken:  # bound but not listening: connections are refused
        taken.bind(("127.0.0.1", 0))
        monkeypatch.setenv("PIP_INDEX_URL", f"http://user:secret@127.0.0.1:{taken.getsockname()[1]}/simple")
        start = time.monotonic()
        with pytest.raises(FetchError, match=r"no connection to 127\.0\.0\.1.*Next: connect") as caught:
            fetch_package_files(SPEC)
    assert time.monotonic() - start < 5
    assert "\n" not in caught.value.message and "secret" not in caught.value.message
    assert leftovers(cache) == []


def test_broken_transfers_resume_where_they_stopped(cache, monkeypatch):
    with serve(Index({WHEEL: DATA}, break_after=[1_000_000, 900_000])) as index:
        use(index, monkeypatch)
        directory = fetch_package_files(SPEC)
        ranges = [headers.get("Range") for headers in index.file_requests()]
    assert (directory / "leaves.bin").read_bytes() == LEAVES
    assert ranges[0] is None and len(ranges) == 3
    starts = [int(value.removeprefix("bytes=").removesuffix("-")) for value in ranges[1:]]
    assert 0 < starts[0] <= 1_000_000 and starts[0] < starts[1] <= 1_900_000
    assert leftovers(cache) == ["fetched.json", "leaves.bin"]


def test_broken_transfers_start_again_where_the_server_cannot_resume(cache, monkeypatch):
    with serve(Index({WHEEL: DATA}, break_after=[1_000_000], ranges=False)) as index:
        use(index, monkeypatch)
        assert (fetch_package_files(SPEC) / "leaves.bin").read_bytes() == LEAVES


def test_a_partial_file_of_something_else_heals(cache, monkeypatch):
    cache_entry = cache / "packages"
    cache_entry.mkdir(parents=True)
    (cache_entry / f"{SPEC.entry}.download").write_bytes(b"?" * (len(DATA) + 10))
    with serve(Index({WHEEL: DATA})) as index:
        use(index, monkeypatch)
        assert (fetch_package_files(SPEC) / "leaves.bin").read_bytes() == LEAVES


def test_a_killed_process_leaves_nothing_half_made_and_is_resumed(cache, monkeypatch):
    with serve(Index({WHEEL: DATA}, break_after=[2_000_000], claimed_length=len(DATA))) as index:
        use(index, monkeypatch)
        started = run_fetch("import os, signal; listen = lambda event: os.kill(os.getpid(), signal.SIGKILL)")
        assert started.wait() == -signal.SIGKILL
        assert cached_package_files(SPEC) is None
        assert leftovers(cache) == [f"{SPEC.entry}.download"]
        index.claimed_length = None
        index.seen.clear()
        assert (fetch_package_files(SPEC) / "leaves.bin").read_bytes() == LEAVES
        assert index.file_requests()[0]["Range"].startswith("bytes=")
    assert leftovers(cache) == ["fetched.json", "leaves.bin"]


def test_two_processes_fetch_once(cache, monkeypatch):
    with serve(Index({WHEEL: DATA})) as index:
        use(index, monkeypatch)
        # Both wait at a barrier of files until both have imported everything.
        meet = (
            "import pathlib, time\n"
            f"here = pathlib.Path({str(cache.parent)!r})\n"
            "(here / f'{os.getpid()}.ready').touch()\n"
            "while len(list(here.glob('*.ready'))) < 2: time.sleep(0.01)\n"
            "listen = lambda event: time.sleep(0.05)"
        )
        both = [run_fetch("import os\n" + meet) for _ in range(2)]
        assert [process.wait() for process in both] == [0, 0]
        assert len(index.file_requests()) == 1
    assert (fetch_package_files(SPEC, offline=True) / "leaves.bin").read_bytes() == LEAVES


@pytest.mark.skipif(sys.platform == "win32", reason="limits are set with the resource module")
def test_a_full_disk_is_one_line_and_leaves_nothing(cache, monkeypatch):
    with serve(Index({WHEEL: DATA})) as index:
        use(index, monkeypatch)
        # A limit on file size stops the write as a full disk does: in the middle, with an OSError.
        limit = (
            "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (1_500_000, -1)); listen = lambda event: None"
        )
        process = run_fetch(limit, stderr=subprocess.PIPE)
        _, errors = process.communicate()
    assert process.returncode == 1 and "FetchError" in errors and "the disk is full" in errors
    assert leftovers(cache) == []


def test_what_cannot_fit_on_the_disk_is_refused_before_it_is_written(cache, monkeypatch):
    with serve(Index({WHEEL: DATA}, claimed_length=10**17)) as index:
        use(index, monkeypatch)
        with pytest.raises(FetchError, match=r"MB free where 100000000000 MB are needed"):
            fetch_package_files(dataclasses.replace(SPEC, max_bytes=10**18))
    assert leftovers(cache) == []


def test_a_file_larger_than_allowed_is_refused(cache, monkeypatch):
    with serve(Index({WHEEL: DATA})) as index:
        use(index, monkeypatch)
        with pytest.raises(FetchError, match="at most 1000000"):
            fetch_package_files(dataclasses.replace(SPEC, max_bytes=1_000_000))
    assert leftovers(cache) == []


def test_another_content_is_refused(cache, monkeypatch):
    altered = wheel({"pots/leaves.bin": LEAVES[::-1]})
    with serve(Index({WHEEL: altered}, stated_sha256=SPEC.sha256)) as index:
        use(index, monkeypatch)
        with pytest.raises(FetchError, match=f"sha256 {hashlib.sha256(altered).hexdigest()}"):
            fetch_package_files(SPEC)
    assert leftovers(cache) == []
    with serve(Index({WHEEL: altered})) as index:  # the listing says so: nothing is downloaded
        use(index, monkeypatch)
        with pytest.raises(FetchError, match=f"has another {WHEEL}"):
            fetch_package_files(SPEC)
        assert index.file_requests() == []


def test_the_next_index_is_asked(cache, monkeypatch):
    with serve(Index({})) as empty, serve(Index({WHEEL: DATA})) as full:
        monkeypatch.setenv("PIP_INDEX_URL", empty.simple)
        monkeypatch.setenv("PIP_EXTRA_INDEX_URL", full.simple)
        assert (fetch_package_files(SPEC) / "leaves.bin").read_bytes() == LEAVES


def test_credentials_go_to_their_own_host_only(cache, monkeypatch):
    with serve(Index({WHEEL: DATA})) as other, serve(Index({WHEEL: DATA}, password="b@mboo")) as index:
        index.file_root = f"{other.address}/files/"
        monkeypatch.setenv("PIP_INDEX_URL", index.simple.replace("//", "//gardener:b%40mboo@"))
        fetch_package_files(SPEC)
        assert index.seen and all("Authorization" in headers for _, headers in index.seen)
        assert other.seen and not any("Authorization" in headers for _, headers in other.seen)


def test_refused_credentials_are_named_but_not_shown(cache, monkeypatch):
    with serve(Index({WHEEL: DATA}, password="right")) as index:
        monkeypatch.setenv("PIP_INDEX_URL", index.simple.replace("//", "//gardener:wrong@"))
        with pytest.raises(FetchError, match="refuses the credentials") as caught:
            fetch_package_files(SPEC)
        assert "wrong" not in caught.value.message


def test_a_certificate_file_that_is_not_there(cache, monkeypatch):
    with serve(Index({WHEEL: DATA})) as index:
        use(index, monkeypatch)
        monkeypatch.setenv("PIP_CERT", "/nowhere/ca.pem")
        with pytest.raises(FetchError, match=r"option cert names /nowhere/ca\.pem, which does not exist"):
            fetch_package_files(SPEC)


def test_plain_http_to_another_host_needs_pips_trusted_host(cache, monkeypatch):
    monkeypatch.setenv("PIP_INDEX_URL", "http://index.invalid/simple")
    with pytest.raises(FetchError, match=r"index\.invalid offers plain http"):
        fetch_package_files(SPEC)
    monkeypatch.setenv("PIP_TRUSTED_HOST", "index.invalid")
    with pytest.raises(FetchError, match=r"no connection to index\.invalid"):  # asked, but no such host exists
        fetch_package_files(SPEC)


def test_a_web_page_cannot_point_into_this_machine(cache, monkeypatch, tmp_path):
    (tmp_path / WHEEL).write_bytes(DATA)
    with serve(Index({WHEEL: DATA}, file_root=f"{tmp_path.as_uri()}/")) as index:
        use(index, monkeypatch)
        with pytest.raises(FetchError, match="points to a file of this machine"):
            fetch_package_files(SPEC)


def test_indexes_and_links_on_this_machine(cache, monkeypatch, tmp_path, no_sockets):
    no_sockets()
    shelf = tmp_path / "mirror" / "pots"
    shelf.mkdir(parents=True)
    (shelf / WHEEL).write_bytes(DATA)
    (shelf / "index.html").write_text(f'<a href="{WHEEL}#sha256={SPEC.sha256}">{WHEEL}</a>')
    monkeypatch.setenv("PIP_INDEX_URL", (tmp_path / "mirror").as_uri())
    assert (fetch_package_files(SPEC) / "leaves.bin").read_bytes() == LEAVES
    assert (shelf / WHEEL).exists()
    monkeypatch.setenv("PENJING_CACHE", str(tmp_path / "second"))
    monkeypatch.setenv("PIP_NO_INDEX", "true")
    with pytest.raises(FetchError, match="no-index"):
        fetch_package_files(SPEC)
    monkeypatch.setenv("PIP_FIND_LINKS", str(shelf))
    assert (fetch_package_files(SPEC) / "leaves.bin").read_bytes() == LEAVES
    assert (shelf / WHEEL).exists()


def test_source_distributions_are_unpacked_without_following_links(cache, monkeypatch):
    data = sdist(
        {"pots-1.0/leaves.csv": b"leaf\n", "pots-1.0/setup.py": EVIL.encode()}, {"pots-1.0/link": "/etc/passwd"}
    )
    with serve(Index({SDIST: data})) as index:
        use(index, monkeypatch)
        directory = fetch_package_files(spec_for(SDIST, data, {"pots-1.0/leaves.csv": "deep/leaves.csv"}))
        assert (directory / "deep" / "leaves.csv").read_bytes() == b"leaf\n"
        with pytest.raises(FetchError, match=r"holds no pots-1\.0/link"):
            fetch_package_files(spec_for(SDIST, data, {"pots-1.0/link": "link"}))
        with pytest.raises(FetchError, match=r"holds no pots-1\.0/none"):
            fetch_package_files(spec_for(SDIST, data, {"pots-1.0/none": "none"}))


@pytest.mark.parametrize(
    ("filename", "data", "reason"),
    [
        (SDIST, sdist({"a": bytes(5_000_000)}), "more than 1000000 bytes"),
        (WHEEL, wheel({"a": bytes(1_500_000)})[:-2000], "damaged|at most"),
        (SDIST, b"\x1f\x8b" + bytes(200), "damaged"),
        (WHEEL, b"no archive", "damaged"),
        ("pots-1.0.rpm", b"x", "not an archive"),
    ],
)
def test_bad_archives_are_refused(cache, monkeypatch, filename, data, reason):
    with serve(Index({filename: data})) as index:
        use(index, monkeypatch)
        with pytest.raises(FetchError, match=reason):
            fetch_package_files(spec_for(filename, data, {"a": "a"}, max_bytes=1_000_000))
    assert not list(cache.rglob("*.part"))


def test_a_member_with_another_sha256_is_refused(cache, monkeypatch):
    spec = dataclasses.replace(SPEC, members={"pots/leaves.bin": ("leaves.bin", "0" * 64)})
    with serve(Index({WHEEL: DATA})) as index:
        use(index, monkeypatch)
        with pytest.raises(FetchError, match=r"pots/leaves\.bin: sha256 is"):
            fetch_package_files(spec)
    assert cached_package_files(spec) is None


def test_a_cache_that_cannot_be_written(cache, monkeypatch):
    cache.write_text("a file, not a directory")
    with pytest.raises(FetchError, match=r"cannot be written.*PENJING_CACHE"):
        fetch_package_files(SPEC)


def test_where_the_cache_is(monkeypatch, tmp_path):
    monkeypatch.setenv("PENJING_CACHE", str(tmp_path))
    assert cache_dir() == tmp_path
    monkeypatch.delenv("PENJING_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_dir() == tmp_path / "xdg" / "penjing"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_dir() == tmp_path / ".cache" / "penjing"


@pytest.mark.network
def test_the_real_index(tmp_path, monkeypatch):
    """As the user's own pip configuration says: one wheel that needs no platform, and one that does not fit here."""
    from penjing.core.fetch import PackageFile

    monkeypatch.setenv("PENJING_CACHE", str(tmp_path))
    spec = PackageFile(
        package="MarkupSafe",
        version="2.1.5",
        filename="MarkupSafe-2.1.5-cp312-cp312-win32.whl",
        sha256="8590b4ae07a35970728874632fed7bd57b26b0102df2d2b233b6d9d82f6c62ad",
        members={"markupsafe/py.typed": ("py.typed", None), "markupsafe/_speedups.pyi": ("speedups.txt", None)},
    )
    assert "def escape" in (fetch_package_files(spec) / "speedups.txt").read_text()


def run_fetch(prelude: str, **options: int) -> subprocess.Popen:
    """Fetch `SPEC` in a process of its own, after some lines that define `listen`."""
    code = (
        f"{prelude}\nfrom penjing.core.fetch import PackageFile, fetch_package_files\n"
        f"fetch_package_files(PackageFile(**{dataclasses.asdict(SPEC)!r}), listen)"
    )
    return subprocess.Popen([sys.executable, "-c", code], text=True, **options)
