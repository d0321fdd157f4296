"""A Python that has imported torch and cohaudit once, and runs each command in a fork of itself.

Importing takes more than half of the time of a small scan, and the pages of docs/ run dozens of them. What
`warm_python` returns is a small client: it hands its arguments, environment, working directory and open
files to a server, which forks. The fork has run nothing before, so that commands stay as independent as
processes of their own.
"""

from __future__ import annotations

import array
import atexit
import importlib
import io
import json
import os
import runpy
import select
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

WARM = (
    "torch",
    "pandas",
    "sympy",
    "matplotlib.backends.backend_svg",
    "matplotlib.figure",
    "rich.console",
    "rich.table",
    "jinja2",
    "cohaudit.cli",
    "cohaudit.pipeline.scan",
    "cohaudit.report",
)
"""What a fork need not import again: all that a scan takes (torch imports sympy late)."""
CLIENT = """
import array, json, os, socket, sys
request = json.dumps([os.getcwd(), dict(os.environ), sys.argv[2:]]).encode()
with socket.socket(socket.AF_UNIX) as server:
    server.connect(sys.argv[1])
    files = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [0, 1, 2]))]
    server.sendmsg([len(request).to_bytes(8, "big")], files)
    server.sendall(request)
    os._exit(int(server.recv(16) or b"70"))
"""
"""Needs no import path and no site packages, so that it starts at once."""


@cache
def warm_python() -> str:
    """Start the server, once for this process, and return the shell command that stands for `python`."""
    folder = tempfile.TemporaryDirectory(prefix="warm")  # short: the path of a socket has 108 bytes at most
    atexit.register(folder.cleanup)
    address, client = f"{folder.name}/socket", Path(folder.name, "client.py")
    client.write_text(CLIENT, encoding="utf-8")
    server = subprocess.Popen(
        [sys.executable, __file__, address],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
    )
    atexit.register(server.kill)
    assert server.stdout is not None
    assert server.stdout.readline() == b"ready\n"
    return shlex.join([sys.executable, "-I", "-S", str(client), address])


def serve(address: str) -> None:
    """Run commands until the test process, which holds the other end of the standard input, is gone."""
    for name in WARM:
        importlib.import_module(name)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the forks: they tell their exit codes
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(address)
        listener.listen()
        os.write(1, b"ready\n")
        while True:
            ready, _, _ = select.select([listener, sys.stdin], [], [])
            if sys.stdin in ready:
                return
            connection, _ = listener.accept()
            if not os.fork():
                listener.close()
                answer(connection)
            connection.close()


def answer(connection: socket.socket) -> None:
    """Run one command in this fork, send its exit code, and end."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    size, files = _size_and_files(connection)
    request = bytearray()
    while len(request) < size:
        request += connection.recv(size - len(request))
    folder, environment, arguments = json.loads(request)
    for standard, file in enumerate(files):
        os.dup2(file, standard)
        os.close(file)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.stdin = io.TextIOWrapper(io.FileIO(0), encoding="utf-8")
    sys.stdout = io.TextIOWrapper(io.FileIO(1, "w"), encoding="utf-8", line_buffering=True)
    sys.stderr = io.TextIOWrapper(io.FileIO(2, "w"), encoding="utf-8", line_buffering=True)
    code = ended(lambda: run(arguments))
    atexit._run_exitfuncs()
    sys.stdout.flush()
    connection.sendall(str(code).encode())
    os._exit(0)


def _size_and_files(connection: socket.socket) -> tuple[int, list[int]]:
    files = array.array("i")
    head, extra, *_ = connection.recvmsg(8, socket.CMSG_LEN(3 * files.itemsize))
    files.frombytes(extra[0][2])
    return int.from_bytes(head, "big"), files.tolist()


def run(arguments: Sequence[str]) -> None:
    """Do what `python ARGUMENTS` does; what is not known here, such as other options, a new Python does."""
    safe = arguments[:1] == ["-P"]
    match arguments[safe:]:
        case ["-m", "cohaudit" | "sphinx" as module, *rest]:
            _import_from("" if safe else str(Path.cwd()))
            sys.argv = [module, *rest]
            runpy.run_module(module, run_name="__main__", alter_sys=True)
        case ["-", *rest]:
            _import_from("" if safe else str(Path.cwd()))
            sys.argv = ["-", *rest]
            exec(compile(sys.stdin.read(), "<stdin>", "exec"), {"__name__": "__main__"})
        case [script, *rest] if not script.startswith("-"):
            _import_from("" if safe else str(Path(script).resolve().parent))
            sys.argv = [script, *rest]
            runpy.run_path(script, run_name="__main__")
        case _:
            sys.exit(subprocess.run([sys.executable, *arguments]).returncode)


def _import_from(first: str) -> None:
    """Search for modules as a Python started with this environment would."""
    given = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    own = [path for path in sys.path[1:] if path != str(Path(__file__).parents[2])]
    sys.path[:] = [path for path in (first, *given) if path] + own


def ended(command: Callable[[], None]) -> int:
    """Return the exit code of a command, as Python itself would end."""
    try:
        command()
    except SystemExit as error:
        if error.code is None or isinstance(error.code, int):
            return error.code or 0
        sys.stderr.write(f"{error.code}\n")
        return 1
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


if __name__ == "__main__":
    serve(sys.argv[1])
