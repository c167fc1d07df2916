"""Runs the `modalkit` command many times: `python forking.py` imports it once and forks a process for each run.

A request is a line of JSON on standard input, an answer a line with the exit status. A run has its own folder, environment and files for its
three streams, as in a shell; it only does not import modal and FastAPI again, which is most of a run's time.
"""

import json
import os
import sys
import traceback

import modalkit._cli.check
import modalkit.cli


def main() -> None:
    while line := _line():
        request = json.loads(line)
        child = os.fork()
        if not child:
            _run(request)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)  # noqa: T201


def _line() -> bytes:
    """Read byte by byte: a child must not find a part of the next request in a buffer."""
    line = b""
    while not line.endswith(b"\n"):
        if not (byte := os.read(0, 1)):
            return b""
        line += byte
    return line


def _run(request: dict) -> None:
    for descriptor, name in enumerate(("stdin", "stdout", "stderr")):
        os.dup2(os.open(request[name], os.O_RDONLY if not descriptor else os.O_WRONLY), descriptor)
    sys.stdin = open(0, closefd=False)  # noqa: SIM115
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["environment"])
    sys.path[0] = ""
    status = 1
    try:
        modalkit.cli.main(request["arguments"])
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else 1
    except BaseException:  # noqa: BLE001  # what an interpreter would print
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


if __name__ == "__main__":
    main()
