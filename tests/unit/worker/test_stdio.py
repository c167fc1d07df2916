"""The marks that a container puts into its output, by a real process, read back by the worker."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from freehold.container import stdio
from freehold.worker.marks import MarkReader

_SECRET = "a1b2c3"
_FOLDER = Path(stdio.__file__).parent

# Stands for modal's runtime: the variable that says which input runs.
_BEGIN = """
import sys, types
from contextvars import ContextVar
sys.path.insert(0, sys.argv[1])
import stdio
stdio.install()
modal = sys.modules["modal._runtime.execution_context"] = types.ModuleType("execution_context")
current = modal._current_input_id = ContextVar("current")
"""


def run(code, *, unbuffered="1", secret=_SECRET):
    env = {"PATH": os.environ["PATH"], "PYTHONUNBUFFERED": unbuffered, stdio.SECRET_VARIABLE: secret, "PYTHONIOENCODING": "utf-8"}
    command = [sys.executable, "-c", _BEGIN + code, str(_FOLDER)]
    return subprocess.run(command, env=env, capture_output=True, timeout=60, check=False)


def said(data, secret=_SECRET):
    reader = MarkReader(secret)
    return [(piece.input_id, piece.data.decode()) for piece in (*reader.feed(data), *reader.release())]


def test_what_an_input_prints_is_marked_and_all_else_is_as_it_was():
    done = run('print("before"); current.set("in-1"); print("during", end="!"); print("err", file=sys.stderr)')
    assert said(done.stdout) == [("", "before\n"), ("in-1", "during!")]
    assert said(done.stderr) == [("in-1", "err"), ("", "\n")]


def test_times_put_both_streams_in_order():
    done = run("""
current.set("in-1")
for number in range(50):
    print(number, file=sys.stderr if number % 3 else sys.stdout)
""")
    pieces = [piece for data in (done.stdout, done.stderr) for piece in MarkReader(_SECRET).feed(data) if piece.input_id]
    in_order = "\n".join(piece.data.decode().strip() for piece in sorted(pieces, key=lambda piece: piece.at))
    assert in_order.split() == [str(number) for number in range(50)]


def test_threads_and_coroutines_have_their_own():
    done = run("""
import asyncio
async def one(name):
    current.set(name)
    for _ in range(3):
        print(name)
        await asyncio.sleep(0)
async def main():
    async with asyncio.TaskGroup() as group:
        for name in ("in-1", "in-2"):
            group.create_task(one(name))
asyncio.run(main())
""")
    found = said(done.stdout)
    assert all(text.strip() in ("", input_id) for input_id, text in found)
    assert [input_id for input_id, text in found if text.strip()] == ["in-1", "in-2"] * 3


def test_the_streams_are_what_pythons_own_are():
    looks = """
current.set("in-1")
for stream in (sys.stdout, sys.stderr):
    print(
        type(stream).__name__, stream.name, stream.mode, stream.encoding, stream.errors, stream.line_buffering, stream.write_through,
        stream.newlines, stream.isatty(), stream.fileno(), stream.buffer.name, stream.seekable(), stream is getattr(sys, f"__{stream.name[1:-1]}__"),
    )
import os
print(stdio.SECRET_VARIABLE in os.environ)
print(sys.stdout.write("four"), sys.stdout.buffer.write(b"bytes"), sys.stdout.buffer.write(memoryview(b"view")))
sys.stdout.reconfigure(errors="replace")
sys.stdout.writelines(["a", "b"])
"""
    ours, stock = run(looks), run(looks, secret="")
    plain = "".join(text for _, text in said(ours.stdout)).splitlines()
    assert plain == stock.stdout.decode().replace("\nTrue\n", "\nFalse\n").splitlines()
    assert (ours.returncode, ours.stderr) == (0, b"")


@pytest.mark.parametrize(
    "code", ['raise SystemExit("bye")', "1/0", 'import os; os.write(1, b"x"); os._exit(3)', "sys.stdout.close()", "del sys.stdout"]
)
def test_endings_are_pythons_own(code):
    ours, stock = run(f'current.set("in-1"); {code}'), run(f'current.set("in-1"); {code}', secret="")
    assert ours.returncode == stock.returncode
    assert "".join(text for _, text in said(ours.stderr)) == stock.stderr.decode()
    assert "".join(text for _, text in said(ours.stdout)) == stock.stdout.decode()


@pytest.mark.parametrize(
    "breakage",
    [
        "modal._current_input_id = None",
        "del modal._current_input_id",
        "class Odd:\n    def get(self, default): raise RuntimeError\nmodal._current_input_id = Odd()",
        "current.set(object())",
        'sys.modules["modal._runtime.execution_context"] = None',
        'current.set("\\ud800")',
    ],
)
def test_a_runtime_that_is_not_as_expected_costs_no_output(breakage):
    done = run(f'current.set("in-1")\n{breakage}\nprint("still here")')
    assert done.returncode == 0
    assert done.stdout == b"still here\n"


def test_buffered_streams_are_left_alone():
    done = run('current.set("in-1"); print(type(sys.stdout.buffer).__name__)', unbuffered="")
    assert done.stdout == b"BufferedWriter\n"


def test_forked_children_and_pipes_that_do_not_wait_work_too():
    done = run("""
import os
current.set("in-1")
if (child := os.fork()) == 0:
    print("child")
    os._exit(0)
os.waitpid(child, 0)
os.set_blocking(1, False)
print("x" * 500_000)
""")
    texts = "".join(text for input_id, text in said(done.stdout))
    assert texts == "child\n" + "x" * 500_000 + "\n"


def test_a_signal_in_the_middle_of_a_long_write_cuts_no_mark():
    done = run("""
import signal
current.set("in-1")
signal.signal(signal.SIGALRM, lambda *_: None)
signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
for _ in range(20):
    print("y" * 200_000)
""")
    assert "".join(text for _, text in said(done.stdout)) == ("y" * 200_000 + "\n") * 20
