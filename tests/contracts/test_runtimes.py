"""What every runtime must do, as `worker/ports.py` says it; and what the real ones must keep containers from."""

import os
import signal
import subprocess
import sys
import time
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path

import anyio
import pytest
from fakes.worker import DEADLINE, FakeRuntime, busybox_rootfs

from freehold.domain.errors import Unavailable
from freehold.wire.execs import Terminal
from freehold.wire.worker import Limits
from freehold.worker.cgroups import read_cgroups
from freehold.worker.naming import home_key
from freehold.worker.ports import Bind, ContainerSpec, Device, Equipment, ExecSpec, Hook, NotExecuted
from freehold.worker.processes import ProcessMark, mark_of
from freehold.worker.runtimes.pinning import pinned
from freehold.worker.runtimes.runc import RuncRuntime

PATH = {"PATH": "/bin"}
FOREVER = "sleep 1000 & wait"
EAT = "x=x; while :; do x=$x$x; done"


@pytest.fixture
def rootfs(tmp_path):
    return busybox_rootfs(tmp_path / "root")


@pytest.fixture
def outputs():
    reading, writing = os.pipe()
    yield reading, writing
    os.close(reading)
    os.close(writing)


@pytest.fixture
def spec(rootfs, outputs):
    return ContainerSpec(id="ta-1", rootfs=rootfs, argv=("sh", "-c", FOREVER), stdout=outputs[1], stderr=outputs[1], env=PATH)


@pytest.fixture
async def runc(tmp_path):
    runtime = RuncRuntime(home=tmp_path)
    yield runtime
    await runtime.sweep()
    assert traces_of(tmp_path) == []


def traces_of(home):
    """Everything a runtime of this home could have left on the machine."""
    cgroups = read_cgroups()
    groups = [root / f"freehold-{home_key(home)}" for root in (*cgroups.v1.values(), cgroups.v2) if root]
    mounts = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines() if str(home) in line]
    states = [*home.glob("run/runc/state/*"), *home.glob("run/runc/bundles/*"), *home.glob("run/runc/*.log")]
    return [*filter(Path.exists, groups), *mounts, *states]


def groups_of(pid):
    return Path(f"/proc/{pid}/cgroup").read_text()


def sh(spec, script, **changes):
    return replace(spec, argv=("sh", "-c", script), **changes)


async def outcome(runtime, spec, outputs):
    """Run to the end: the exit and what was printed (less than a pipe holds)."""
    with anyio.fail_after(DEADLINE):
        container = await runtime.start(spec)
        ended = await container.wait()
    await container.destroy()
    os.set_blocking(outputs[0], False)
    try:
        return ended, os.read(outputs[0], 65536).decode()
    except BlockingIOError:
        return ended, ""


async def printed(runtime, spec, outputs):
    return (await outcome(runtime, spec, outputs))[1].strip()


@pytest.mark.parametrize("kind", ["runc", "fake"])
class TestEveryRuntime:
    @pytest.fixture
    async def runtime(self, kind, tmp_path):
        runtime = RuncRuntime(home=tmp_path) if kind == "runc" else FakeRuntime()
        yield runtime
        await runtime.sweep()
        assert traces_of(tmp_path) == []

    async def test_the_exit_status_is_that_of_the_command(self, runtime, spec):
        container = await runtime.start(sh(spec, "exit 3"))

        assert (await container.wait()).code == 3
        await container.destroy()

    async def test_an_end_by_a_signal_is_128_and_its_number(self, runtime, spec):
        container = await runtime.start(spec)

        await container.signal(signal.SIGKILL)

        assert (await container.wait()).code == 128 + signal.SIGKILL
        await container.destroy()

    async def test_all_who_wait_get_the_same_answer_also_after_the_end(self, runtime, spec):
        container = await runtime.start(spec)
        answers = []

        async def wait():
            answers.append(await container.wait())

        with anyio.fail_after(DEADLINE):
            async with anyio.create_task_group() as group:
                group.start_soon(wait)
                group.start_soon(wait)
                await container.signal(signal.SIGKILL)
        await container.destroy()

        assert answers == [await container.wait()] * 2

    async def test_a_wait_that_was_cancelled_takes_nothing_from_the_next(self, runtime, spec):
        container = await runtime.start(spec)
        with anyio.move_on_after(0.01):
            await container.wait()

        await container.signal(signal.SIGKILL)

        with anyio.fail_after(DEADLINE):
            assert (await container.wait()).code == 128 + signal.SIGKILL
        await container.destroy()

    async def test_a_signal_after_the_end_does_nothing(self, runtime, spec):
        container = await runtime.start(sh(spec, "exit 0"))
        await container.wait()

        await container.signal(signal.SIGINT)
        await container.destroy()
        await container.signal(signal.SIGINT)

    async def test_destroy_ends_what_runs_and_can_be_repeated(self, runtime, spec):
        container = await runtime.start(spec)

        await container.destroy()
        await container.destroy()

        assert (await container.wait()).code == 128 + signal.SIGKILL

    async def test_it_executes_what_it_is_told_beside_its_first_process(self, runtime, spec, outputs):
        container = await runtime.start(spec)

        process = await container.execute(ExecSpec(argv=("sh", "-c", "echo $A; exit 4"), env={**PATH, "A": "hello"}, stdout=outputs[1]))
        with anyio.fail_after(DEADLINE):
            assert await process.wait() == 4
        process.kill()  # nothing any more
        await container.destroy()

        assert os.read(outputs[0], 100) == b"hello\n"

    async def test_what_it_executes_can_be_killed_with_its_group(self, runtime, spec, outputs):
        container = await runtime.start(spec)
        process = await container.execute(ExecSpec(argv=("sh", "-c", "sleep 1000 & echo; wait"), env=PATH, stdout=outputs[1]))
        await anyio.wait_readable(outputs[0])

        process.kill()

        with anyio.fail_after(DEADLINE):
            assert await process.wait() == 128 + signal.SIGKILL
        await container.destroy()

    async def test_what_it_executes_ends_with_it(self, runtime, spec):
        container = await runtime.start(spec)
        process = await container.execute(ExecSpec(argv=("sleep", "1000"), env=PATH))
        async with anyio.create_task_group() as group:
            group.start_soon(container.destroy)
            with anyio.fail_after(DEADLINE):
                assert await process.wait() == 128 + signal.SIGKILL

    async def test_a_program_that_is_not_there_is_told(self, runtime, spec):
        container = await runtime.start(spec)
        with pytest.raises(NotExecuted, match="no-such-program") as caught:
            await container.execute(ExecSpec(argv=("no-such-program",), env=PATH))
        assert caught.value.code == 127
        await container.destroy()

    async def test_sweep_names_and_ends_what_was_left(self, runtime, spec):
        container = await runtime.start(spec)

        assert await runtime.sweep() == ["ta-1"]
        assert await runtime.sweep() == []
        assert (await container.wait()).code == 128 + signal.SIGKILL

    async def test_sweep_leaves_alone_what_is_kept(self, runtime, spec):
        kept = await runtime.start(spec)
        await runtime.start(replace(spec, id="ta-2"))

        assert await runtime.sweep(keep={"ta-1"}) == ["ta-2"]
        await kept.signal(signal.SIGKILL)

        assert (await kept.wait()).code == 128 + signal.SIGKILL


async def test_a_sweep_ends_what_runc_was_killed_over_beside_what_is_kept(runc, spec, tmp_path):
    kept = await runc.start(spec)
    secrets = tmp_path / "run/runc/bundles/ta-2"
    secrets.mkdir(parents=True)
    (secrets / "config.json").write_text("secret")
    waiting = await anyio.open_process(["sleep", "1000"])
    groups = [line.split(":")[2] for line in groups_of(kept.pid).splitlines() if line.endswith("/ta-1")]
    cgroups = read_cgroups()
    halves = [root / Path(groups[0]).parent.relative_to("/") / "ta-2" for root in {*cgroups.v1.values(), cgroups.v2} if root]
    for half in halves:
        half.mkdir(exist_ok=True)
        with suppress(OSError):  # of CPUs, before it has been given some
            (half / "cgroup.procs").write_text(str(waiting.pid))

    assert await runc.sweep(keep={"ta-1"}) == []

    with anyio.fail_after(DEADLINE):
        assert await waiting.wait() == -signal.SIGKILL
    assert not secrets.exists()
    await runc.sweep(keep={"ta-1"})  # what had not left when it was killed
    assert not [half for half in halves if half.exists()]
    await kept.signal(signal.SIGKILL)
    await kept.wait()


ENGINE = """
import os, signal, sys
from pathlib import Path

import anyio

from freehold.wire.worker import Limits
from freehold.worker.ports import ContainerSpec
from freehold.worker.processes import mark_of
from freehold.worker.runtimes.runc import RuncRuntime

async def main():
    home, rootfs, script, result = sys.argv[1:]
    null = os.open(os.devnull, os.O_WRONLY)
    spec = ContainerSpec(
        id="ta-1", rootfs=Path(rootfs), argv=("sh", "-c", script), stdout=null, stderr=null, env={"PATH": "/bin"}, limits=Limits(memory_mib=32)
    )
    mark = mark_of((await RuncRuntime(home=Path(home)).start(spec)).pid)
    Path(result).write_text(f"{mark.pid} {mark.started} {mark.boot}")
    os.kill(os.getpid(), signal.SIGKILL)

anyio.run(main)
"""


class TestAdoption:
    """By an instance in another process than the one that started the container, which was killed."""

    @pytest.fixture
    async def orphan(self, tmp_path, rootfs):
        async def make(script=FOREVER):
            result = tmp_path / "mark"
            await anyio.run_process([sys.executable, "-c", ENGINE, str(tmp_path), str(rootfs), script, str(result)], check=False)
            pid, started, boot = result.read_text().split()
            return ProcessMark(pid=int(pid), started=int(started), boot=boot)

        return make

    async def test_it_is_waited_for_and_signalled_like_ones_own(self, orphan, runc):
        container = await runc.adopt("ta-1", await orphan("trap 'exit 5' INT; touch /tmp/ready; sleep 1000 & wait"))

        with anyio.fail_after(DEADLINE):
            await container.signal(signal.SIGINT)
            assert (await container.wait()).code in {5, 130}  # 130: it came before the trap
        await container.destroy()

    async def test_too_much_memory_is_told_from_a_crash(self, orphan, runc):
        container = await runc.adopt("ta-1", await orphan(f"sleep 1; {EAT}"))

        with anyio.fail_after(DEADLINE):
            assert (await container.wait()).out_of_memory
        await container.destroy()

    async def test_it_is_destroyed_without_a_trace(self, orphan, runc):
        mark = await orphan()
        container = await runc.adopt("ta-1", mark)

        await container.destroy()
        await container.destroy()

        assert (await container.wait()).code == 128 + signal.SIGKILL
        assert await runc.adopt("ta-1", mark) is None

    async def test_one_that_has_ended_meanwhile_is_left_to_the_sweep(self, orphan, runc):
        mark = await orphan("sleep 0.3")
        await _ended(mark)

        assert await runc.adopt("ta-1", mark) is None
        assert await runc.sweep() == ["ta-1"]

    async def test_a_stranger_with_its_pid_is_not_taken_for_it(self, orphan, runc):
        mark = await orphan()

        assert await runc.adopt("ta-1", replace(mark, started=mark.started + 1)) is None
        assert await runc.adopt("ta-2", mark) is None


async def _ended(mark):
    with anyio.fail_after(DEADLINE):
        while mark_of(mark.pid) == mark:  # noqa: ASYNC110 — the kernel tells nobody about this
            await anyio.sleep(0.01)


class TestExecuting:
    """A further process of a container, by runc."""

    async def output(self, container, spec):
        reading, writing = os.pipe()
        process = await container.execute(replace(spec, stdout=writing, stderr=writing))
        os.close(writing)
        with anyio.fail_after(DEADLINE):
            await process.wait()
        with os.fdopen(reading) as file:
            return await anyio.to_thread.run_sync(file.read)

    async def test_it_is_confined_as_the_first(self, runc, spec, outputs):
        look = "grep -E '^(Cap|Seccomp|NoNewPrivs)' /proc/self/status; cat /proc/self/cgroup; ulimit -n; id; hostname"
        first = await printed(runc, sh(replace(spec, id="ta-2"), look), outputs)
        container = await runc.start(spec)

        assert await self.output(container, ExecSpec(argv=("sh", "-c", look), env=PATH)) == first + "\n"
        await container.destroy()

    async def test_it_is_where_the_first_is(self, runc, spec):
        container = await runc.start(spec)
        names = ("cgroup", "ipc", "mnt", "net", "pid", "uts")
        theirs = [os.readlink(f"/proc/{container.pid}/ns/{name}") for name in names]  # noqa: PTH115 — as above

        look = f"for name in {' '.join(names)}; do readlink /proc/self/ns/$name; done"
        assert (await self.output(container, ExecSpec(argv=("sh", "-c", look), env=PATH))).split() == theirs
        await container.destroy()

    async def test_one_like_another_container_has_that_ones_system_calls(self, runc, spec):
        """What stands for a fork in its container may not even make a file."""
        other = await runc.start(replace(spec, id="zy-1", is_zygote=True))
        fork = await runc.start(replace(spec, pidns=f"/proc/{other.pid}/ns/pid", argv=("/bin/sh", "-c", "while :; do sleep 9; done")))
        make = ExecSpec(argv=("sh", "-c", "mkdir /tmp/made && ls /tmp"), env=PATH)

        assert "not permitted" in await self.output(fork, make)
        assert await self.output(fork, replace(make, like="zy-1")) == "made\n"

        async with anyio.create_task_group() as group:
            group.start_soon(fork.destroy)
            group.start_soon(other.destroy)

    async def test_a_terminal_is_one(self, runc, spec):
        container = await runc.start(spec)
        script = "test -t 0 && test -t 1 && test -t 2 && busybox stty size && read line && echo got $line"

        process = await container.execute(ExecSpec(argv=("sh", "-c", script), env=PATH, terminal=Terminal(rows=33, columns=111)))
        seen = os.read(process.terminal, 100)
        os.write(process.terminal, b"this\n")

        with anyio.fail_after(DEADLINE):
            assert await process.wait() == 0
        seen += os.read(process.terminal, 100)
        os.close(process.terminal)
        assert seen.startswith(b"33 111\r\n")
        assert seen.endswith(b"got this\r\n")
        await container.destroy()

    async def test_a_folder_that_is_not_there_is_told(self, runc, spec):
        container = await runc.start(spec)
        with pytest.raises(NotExecuted, match="/no-such-folder"):
            await container.execute(ExecSpec(argv=("true",), env=PATH, cwd="/no-such-folder"))
        await container.destroy()

    async def test_secrets_stay_on_disk_no_longer_than_the_start(self, runc, spec, tmp_path):
        container = await runc.start(spec)
        process = await container.execute(ExecSpec(argv=("sleep", "1000"), env={**PATH, "SECRET": "treasure"}))

        files = [path for path in (tmp_path / "run/runc").rglob("*") if path.is_file()]
        assert not [path for path in files if "treasure" in path.read_text(errors="replace")]

        process.kill()
        await process.wait()
        assert not list((tmp_path / "run/runc/execs").iterdir())
        await container.destroy()

    async def test_the_next_engine_kills_what_this_one_had_executed(self, runc, spec, tmp_path):
        container = await runc.start(spec)
        process = await container.execute(ExecSpec(argv=("sleep", "1000"), env=PATH))

        await RuncRuntime(home=tmp_path).sweep(keep={spec.id})

        with anyio.fail_after(DEADLINE):
            assert await process.wait() == 128 + signal.SIGKILL
        assert mark_of(container.pid) is not None, "the container goes on"
        await container.destroy()

    async def test_a_later_process_of_the_same_pid_is_left_alone(self, runc, spec, tmp_path):
        container = await runc.start(spec)
        process = await container.execute(ExecSpec(argv=("sleep", "1000"), env=PATH))
        for file in (tmp_path / "run/runc/execs").glob("*/pid"):
            os.utime(file, (0, 0))

        await RuncRuntime(home=tmp_path).sweep(keep={spec.id})

        process.kill()
        await process.wait()
        await container.destroy()


class TestProcess:
    async def test_it_gets_its_environment_and_folder_and_nothing_of_the_engines(self, runc, spec, outputs, monkeypatch):
        monkeypatch.setenv("ENGINES_OWN", "1")

        text = await printed(runc, sh(spec, "pwd; env", env={**PATH, "GREETING": "hello"}, cwd="/tmp"), outputs)

        assert text.startswith("/tmp\n")
        assert "GREETING=hello" in text
        assert "ENGINES_OWN" not in text

    async def test_it_can_be_interrupted_though_the_engine_cannot(self, runc, spec, outputs):
        """An engine that was started in the background has SIGINT ignored; its children would inherit that."""
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            container = await runc.start(sh(spec, "trap 'exit 5' INT; echo ready; sleep 1000 & wait"))
            await anyio.wait_readable(outputs[0])
            await container.signal(signal.SIGINT)
            with anyio.fail_after(DEADLINE):
                assert (await container.wait()).code == 5
        finally:
            signal.signal(signal.SIGINT, before)
        await container.destroy()

    async def test_an_interrupt_at_once_after_the_start_is_not_lost(self, runc, spec):
        """The kernel drops signals to a process 1 that is not ready for them."""
        for number in range(5):
            container = await runc.start(replace(spec, id=f"ta-{number}", argv=("sleep", "1000")))
            await container.signal(signal.SIGINT)
            with anyio.fail_after(DEADLINE):
                assert (await container.wait()).code == 128 + signal.SIGINT
            await container.destroy()

    async def test_it_runs_as_the_user_that_was_asked_for(self, runc, spec, outputs):
        assert await printed(runc, sh(spec, "id -u; id -g", user="1000:33"), outputs) == "1000\n33"

    async def test_a_container_ends_with_its_first_command(self, runc, spec, outputs):
        """What it left running in the background does not keep it."""
        ended, _ = await outcome(runc, sh(spec, "sleep 1000 & exit 4"), outputs)

        assert ended.code == 4

    async def test_a_container_that_cannot_start_is_refused_and_leaves_nothing(self, runc, spec, tmp_path):
        with pytest.raises(Unavailable, match=r"could not start the container: .*rootfs"):
            await runc.start(replace(spec, rootfs=tmp_path / "missing"))

        await runc.sweep()
        assert traces_of(tmp_path) == []

    async def test_secrets_stay_on_disk_no_longer_than_the_start(self, runc, spec, tmp_path):
        container = await runc.start(sh(spec, FOREVER, env={**PATH, "PASSWORD": "hunter2"}))

        holding = [path for path in tmp_path.rglob("run/**/*") if path.is_file() and b"hunter2" in path.read_bytes()]

        await container.destroy()
        assert holding == []


class TestLimits:
    async def test_too_much_memory_is_told_from_a_crash(self, runc, spec, outputs):
        ended, _ = await outcome(runc, sh(spec, EAT, limits=Limits(memory_mib=32)), outputs)
        crashed, _ = await outcome(runc, sh(spec, "kill -9 $$", id="ta-2", limits=Limits(memory_mib=32)), outputs)

        assert ended.out_of_memory
        assert (crashed.code, crashed.out_of_memory) == (137, False)

    async def test_a_program_that_survives_a_killed_child_is_not_out_of_memory(self, runc, spec, outputs):
        ended, _ = await outcome(runc, sh(spec, f"({EAT}); exit 0", limits=Limits(memory_mib=32)), outputs)

        assert (ended.code, ended.out_of_memory) == (0, False)

    async def test_a_program_can_read_its_limits(self, runc, spec, outputs):
        files = "/sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max"

        assert await printed(runc, sh(spec, f"cat {files} 2> /dev/null", limits=Limits(memory_mib=32)), outputs) == str(32 << 20)

    async def test_processes_are_counted(self, runc, spec, outputs):
        text = await printed(runc, sh(spec, "for i in 1 2 3 4 5 6 7 8 9; do sleep 100 & done", limits=Limits(pids=5)), outputs)

        assert "can't fork" in text


class TestUsage:
    async def test_what_it_has_used_is_known_after_its_end_too(self, runc, spec):
        busy = "x=1; i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done"
        container = await runc.start(sh(spec, f"{busy}; {FOREVER}"))
        with anyio.fail_after(DEADLINE):
            while container.usage().cpu_us < 10_000:  # noqa: ASYNC110 — the kernel tells nobody about this
                await anyio.sleep(0.01)
        running = container.usage()
        await container.signal(signal.SIGKILL)
        await container.wait()
        ended = container.usage()
        await container.destroy()

        assert running.memory_bytes > 0
        assert ended.cpu_us >= running.cpu_us
        assert ended.most_memory_bytes >= running.memory_bytes
        assert container.usage().cpu_us == 0


class TestJoining:
    @pytest.fixture
    def first(self):
        """Process 1 of a pid namespace that is no container's."""
        with subprocess.Popen(["unshare", "--pid", "--fork", "sleep", "1000"]) as unshare:
            children = Path(f"/proc/{unshare.pid}/task/{unshare.pid}/children")
            while not children.read_text():
                time.sleep(0.01)
            pid = int(children.read_text())
            yield pid
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    async def test_a_container_can_be_in_a_pid_namespace_that_is_there(self, runc, spec, outputs, first):
        theirs = os.readlink(f"/proc/{first}/ns/pid")  # noqa: PTH115 — the other way is taken for one that blocks

        assert (await printed(runc, sh(spec, "ls -l /proc/self/ns/pid", pidns=f"/proc/{first}/ns/pid"), outputs)).endswith(theirs)

    async def test_what_others_have_put_into_it_ends_with_it(self, runc, spec, first):
        container = await runc.start(replace(spec, pidns=f"/proc/{first}/ns/pid"))

        runc.enroll(spec.id, first)
        assert spec.id in groups_of(first)

        await container.destroy()
        assert mark_of(first) is None

    async def test_one_that_cannot_end_yet_is_told_and_ends_later(self, runc, spec):
        """Nobody has reaped what was put into its pid namespace."""
        first = await runc.start(spec)
        guest = await runc.start(replace(spec, id="ta-2", pidns=f"/proc/{first.pid}/ns/pid"))

        with anyio.fail_after(DEADLINE), pytest.raises(Unavailable, match="does not end"):
            await first.destroy()

        await guest.destroy()
        await first.destroy()

    async def test_what_it_reads_can_be_given(self, runc, spec, outputs):
        reading, writing = os.pipe()
        os.write(writing, b"hello\n")
        os.close(writing)

        assert await printed(runc, sh(spec, "cat", stdin=reading), outputs) == "hello"
        os.close(reading)


class TestConfinement:
    async def test_it_sees_its_own_processes_only(self, runc, spec, outputs):
        assert len((await printed(runc, sh(spec, "ls -d /proc/[0-9]*"), outputs)).split()) <= 3

    async def test_it_sees_its_own_files_only(self, runc, spec, outputs):
        text = await printed(runc, sh(spec, "ls /; ls /dev"), outputs)

        folders = {"__freehold", "bin", "dev", "etc", "proc", "root", "sys", "tmp"}
        devices = {"full", "null", "ptmx", "pts", "random", "tty", "urandom", "zero"}
        assert set(text.split()) == folders | devices | {"fd", "mqueue", "shm", "stderr", "stdin", "stdout"}

    async def test_it_can_use_the_devices_that_it_is_given_and_no_others_though_it_makes_their_nodes(self, runc, spec, outputs):
        """The one of FUSE stands for a GPU: every kernel has it, and no container by itself."""
        given = replace(spec, equipment=Equipment(devices=(Device(path="/dev/nvidia0", major=10, minor=229),)))

        with_it, _ = await outcome(runc, sh(given, "head -c 0 /dev/nvidia0"), outputs)
        without, text = await outcome(runc, sh(spec, "busybox mknod /dev/own c 10 229 && ! head -c 0 /dev/own"), outputs)

        assert (with_it.code, without.code) == (0, 0), text
        assert "not permitted" in text

    async def test_programs_of_the_machine_can_prepare_it(self, runc, spec, outputs, rootfs):
        """As a driver's do, which link its libraries and renew the cache of the loader: in the root, before the command runs."""
        prepare = Hook(
            kind="createContainer", path="/bin/sh", args=("sh", "-c", f"echo $WHAT > {rootfs}/tmp/linked"), env=("WHAT=libcuda",)
        )

        assert await printed(runc, sh(replace(spec, equipment=Equipment(hooks=(prepare,))), "cat /tmp/linked"), outputs) == "libcuda"

    async def test_it_has_no_network_unless_given_one(self, runc, spec, outputs):
        assert await printed(runc, sh(spec, "ls /sys/class/net"), outputs) == "lo"

    async def test_it_cannot_gain_privileges(self, runc, spec, outputs):
        status = dict(line.split(":\t") for line in (await printed(runc, sh(spec, "cat /proc/self/status"), outputs)).splitlines())

        assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
        assert int(status["CapEff"], 16) & (1 << 21 | 1 << 12 | 1 << 13) == 0  # SYS_ADMIN, NET_ADMIN, NET_RAW

    @pytest.mark.parametrize(
        "attack", ["mount -t tmpfs none /tmp", "echo 1 > /proc/sys/vm/drop_caches", "echo x > /sys/kernel/uevent_helper"]
    )
    async def test_it_cannot_change_the_machine(self, runc, spec, outputs, attack):
        ended, _ = await outcome(runc, sh(spec, attack), outputs)

        assert ended.code != 0

    async def test_binds_can_be_written_only_if_they_say_so(self, runc, spec, outputs, tmp_path):
        shown, shared = tmp_path / "shown", tmp_path / "shared"
        for folder in (shown, shared):
            folder.mkdir()
            (folder / "file").write_text("of the machine")
        binds = (Bind(source=shown, target="/shown"), Bind(source=shared, target="/shared", read_only=False))

        await outcome(runc, sh(spec, "echo mine > /shown/file; echo mine > /shared/file", binds=binds), outputs)

        assert (shown / "file").read_text() == "of the machine"
        assert (shared / "file").read_text() == "mine\n"

    async def test_a_folder_below_is_found_or_made_and_can_be_written_if_it_says_so(self, runc, spec, outputs, tmp_path):
        volume = tmp_path / "volume"
        (volume / "a").mkdir(parents=True)
        (volume / "a" / "file").write_text("here")
        binds = (
            Bind(source=volume, target="/whole", below=(), read_only=False),
            Bind(source=volume, target="/part", below=("a",)),
            Bind(source=volume, target="/new", below=("b", "c"), read_only=False),
        )

        script = "cat /part/file /whole/a/file; echo new > /new/file; echo whole > /whole/file; echo refused > /part/file"
        _, text = await outcome(runc, sh(spec, script, binds=binds), outputs)

        assert text.startswith("herehere")
        assert "Read-only file system" in text
        assert [(volume / path).read_text() for path in ("file", "a/file", "b/c/file")] == ["whole\n", "here", "new\n"]

    @pytest.mark.parametrize("below", [("link",), ("link", "inner"), ("file",)])
    async def test_a_folder_below_is_never_found_by_a_link(self, runc, spec, tmp_path, below):
        """Containers that have the folder mounted can make one at any time, and lead it to the machine's root."""
        volume, outside = tmp_path / "volume", tmp_path / "outside"
        volume.mkdir()
        (outside / "inner").mkdir(parents=True)
        (volume / "link").symlink_to(outside)
        (volume / "file").touch()

        with pytest.raises(Unavailable, match="Links in volumes are not followed"):
            await runc.start(replace(spec, binds=(Bind(source=volume, target="/part", below=below),)))

    def test_what_was_found_is_mounted_also_when_a_link_has_taken_its_name_since(self, tmp_path):
        volume, outside = tmp_path / "volume", tmp_path / "outside"
        (volume / "a").mkdir(parents=True)
        (volume / "a" / "inside").touch()
        outside.mkdir()

        with ExitStack() as held:
            bind = pinned(Bind(source=volume, target="/part", below=("a",)), tmp_path / "places", held)
            (volume / "a").rename(volume / "b")
            (volume / "a").symlink_to(outside)
            seen = [path.name for path in bind.source.iterdir()]

        assert seen == ["inside"]
        assert list((tmp_path / "places").iterdir()) == []
        assert (volume / "b" / "inside").exists()

    async def test_what_is_below_a_folder_that_is_gone_is_not_made(self, runc, spec, tmp_path):
        with pytest.raises(Unavailable, match="is gone"):
            await runc.start(replace(spec, binds=(Bind(source=tmp_path / "volume", target="/part", below=("a",)),)))
        assert not (tmp_path / "volume").exists()

    async def test_what_it_writes_to_tmp_is_in_its_root(self, runc, spec, outputs, rootfs):
        await outcome(runc, sh(spec, "echo kept > /tmp/file; echo lost > /dev/shm/file"), outputs)

        assert (rootfs / "tmp/file").read_text() == "kept\n"
        assert list(rootfs.glob("dev/shm/*")) == []
