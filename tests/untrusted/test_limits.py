"""Files of unknown origin: regular files alone, and work in proportion to their size on disk."""

from __future__ import annotations

import os
import socket
import threading
import time
from pathlib import Path

import pytest

from cohaudit.errors import DataError, is_out_of_memory
from cohaudit.untrusted import current_limits, is_regular, limiting, open_regular, read_bytes, rehearse
from cohaudit.untrusted.code import user_code_error

GIGABYTE = 10**9
needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


def children() -> set[str]:
    """Return the processes that this one has started, and that have not been waited for."""
    listed = Path(f"/proc/self/task/{threading.get_native_id()}/children")
    return set(listed.read_text().split()) if listed.exists() else set()


def pipe(path: Path) -> None:
    os.mkfifo(path)


def unix_socket(path: Path) -> None:
    os.chdir(path.parent)  # the name of a socket may not be long
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(path.name)


@needs_fork
@pytest.mark.parametrize(
    ("make", "kind"), [(pipe, "a named pipe"), (Path.mkdir, "a folder"), (unix_socket, "a socket")]
)
def test_only_regular_files_are_opened(make, kind: str, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    make(tmp_path / "x")
    assert not is_regular(tmp_path / "x")
    with pytest.raises(DataError, match=f"is {kind}, not a regular file"):
        open_regular(tmp_path / "x", DataError)


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="needs devices")
def test_a_device_is_refused() -> None:
    with pytest.raises(DataError, match="is a device"):
        open_regular(Path("/dev/zero"), DataError)


def test_a_file_of_holes_is_refused(tmp_path: Path) -> None:
    with (tmp_path / "x").open("wb") as file:
        file.truncate(50 * GIGABYTE)
    if (tmp_path / "x").stat().st_blocks:
        pytest.skip("this file system writes holes out")
    with pytest.raises(DataError, match="is 50 GB large by name, but has 0 MB on the disk"):
        open_regular(tmp_path / "x", DataError)


def test_a_document_has_a_limit_that_a_person_can_raise(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(bytes(current_limits().document + 1))
    with pytest.raises(DataError, match="raise --read-memory"):
        read_bytes(tmp_path / "x", DataError)
    with limiting(1000, 5.0):
        assert len(read_bytes(tmp_path / "x", DataError)) > current_limits().document // 2


@needs_fork
class TestRehearsal:
    def test_work_that_ends_well(self) -> None:
        assert rehearse(lambda: sum(range(10)), GIGABYTE, 20).went_well

    def test_work_that_fails_says_how(self) -> None:
        ended = rehearse(lambda: 1 / 0, GIGABYTE, 20)
        assert (ended.outcome, ended.error, ended.text) == ("failed", "ZeroDivisionError", "division by zero")

    def test_work_inside_one_call_that_nothing_interrupts(self) -> None:
        def nested() -> None:
            value: tuple[object, ...] = ()
            for _ in range(60):
                value = (value, value)
            hash(value)

        start = time.monotonic()
        assert rehearse(nested, GIGABYTE, 0.5).outcome == "time"
        assert time.monotonic() - start < 20

    @pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs Linux to limit memory")
    def test_work_that_takes_too_much_memory(self) -> None:
        assert rehearse(lambda: bytearray(10**10), GIGABYTE, 20).outcome == "memory"

    def test_work_that_ends_the_process(self) -> None:
        assert rehearse(lambda: os.kill(os.getpid(), 11), GIGABYTE, 20).outcome == "crashed"

    def test_the_child_leaves_nothing_behind(self, tmp_path: Path) -> None:
        def leave() -> None:
            raise SystemExit(0)

        before = children()
        assert rehearse(leave, GIGABYTE, 20).error == "SystemExit"
        # those of the test's own process, such as the server that starts commands, stay
        assert children() <= before


@pytest.mark.parametrize(
    "error", [MemoryError(), OSError(12, "Cannot allocate memory"), RuntimeError("can't allocate memory: 8")]
)
def test_what_libraries_say_if_memory_runs_out(error: Exception) -> None:
    assert is_out_of_memory(error)
    assert not is_out_of_memory(ValueError("can't allocate memory"))


@pytest.mark.parametrize("raised", [SystemExit(0), KeyboardInterrupt(), ValueError("wrong")])
def test_an_exception_is_attributed_to_the_code_that_raised_it(raised: BaseException) -> None:
    try:
        raise raised
    except BaseException as error:
        found = user_code_error(error)
    assert found is not None
    assert found.where.startswith("test_limits.py, line ")
    assert type(raised).__name__ in found.found


def test_an_error_of_ours_is_no_error_of_the_users() -> None:
    with pytest.raises(TypeError) as caught:
        current_limits().unpacked("x")  # type: ignore[arg-type]
    assert user_code_error(caught.value) is None
