"""What the snapshotter must do, as `worker/ports.py` says it."""

import os
import signal
import stat
import sys
from pathlib import Path

import anyio
import pytest
from fakes.worker import busybox_rootfs

from freehold.worker.ports import ContainerSpec
from freehold.worker.runtimes.runc import RuncRuntime
from freehold.worker.snapshots.overlay import OverlaySnapshots


@pytest.fixture
async def snapshots(tmp_path):
    snapshots = OverlaySnapshots(home=tmp_path)
    yield snapshots
    await snapshots.sweep()
    assert mounted_under(tmp_path) == []
    assert list(tmp_path.glob("roots/*")) == []


def mounted_under(home):
    return [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines() if str(home) in line]


def a_layer(snapshots, layer, **files):
    """A layer with these files; `__` in a name stands for `/`."""
    folder = snapshots.staging()
    for name, content in files.items():
        path = folder / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    snapshots.adopt(folder, layer)
    return layer


async def test_layers_lie_over_one_another_in_order(snapshots):
    layers = (a_layer(snapshots, "low", both="low", low="low"), a_layer(snapshots, "high", both="high"))

    root = await snapshots.mount("r", layers)

    assert ((root / "both").read_text(), (root / "low").read_text()) == ("high", "low")


async def test_other_folders_lie_over_the_layers_in_order(snapshots, tmp_path):
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "both").write_text(name)

    root = await snapshots.mount("r", (a_layer(snapshots, "low", both="low"),), (tmp_path / "first", tmp_path / "second"))

    assert (root / "both").read_text() == "second"


async def test_what_is_written_changes_no_layer(snapshots):
    layer = a_layer(snapshots, "low", file="low")
    root = await snapshots.mount("r", (layer,))

    (root / "file").write_text("changed")

    assert (snapshots.path(layer) / "file").read_text() == "low"


async def test_roots_of_the_same_layers_know_nothing_of_each_other(snapshots):
    layer = a_layer(snapshots, "low", file="low")
    first, second = await snapshots.mount("r1", (layer,)), await snapshots.mount("r2", (layer,))

    (first / "file").unlink()

    assert (second / "file").read_text() == "low"


async def test_changes_become_a_layer(snapshots):
    layer = a_layer(snapshots, "low", kept="low", removed="low")
    root = await snapshots.mount("r", (layer,))
    (root / "removed").unlink()
    (root / "added").write_text("new")

    await snapshots.unmount("r")
    await snapshots.commit("r", "next")

    root = await snapshots.mount("r2", (layer, "next"))
    assert {path.name for path in root.iterdir() if path.is_file()} == {"kept", "added"}


async def test_a_layer_that_exists_already_stays_as_it_is(snapshots):
    a_layer(snapshots, "same", file="first")
    root = await snapshots.mount("r", ())
    (root / "file").write_text("second")
    await snapshots.unmount("r")

    await snapshots.commit("r", "same")
    a_layer(snapshots, "same", file="third")

    assert (snapshots.path("same") / "file").read_text() == "first"


async def test_a_folder_that_was_replaced_hides_what_was_in_it(snapshots):
    layer = a_layer(snapshots, "low", folder__old="low")
    root = await snapshots.mount("r", (layer,))
    (root / "folder/old").unlink()
    (root / "folder").rmdir()
    (root / "folder").mkdir()
    await snapshots.unmount("r")
    await snapshots.commit("r", "next")

    root = await snapshots.mount("r2", (layer, "next"))

    assert list((root / "folder").iterdir()) == []


async def test_what_was_written_lies_over_other_roots_of_the_same_layers(snapshots):
    layer = a_layer(snapshots, "low", kept="low", removed="low", changed="low", folder__old="low")
    first = await snapshots.mount("r1", (layer,))
    (first / "changed").write_text("new")
    (first / "removed").unlink()
    (first / "folder/old").unlink()
    (first / "folder").rmdir()
    (first / "folder").mkdir(mode=0o700)
    (first / "link").symlink_to("/etc")

    written = await snapshots.written("r1")
    second = await snapshots.mount("r2", (layer,), (written,))

    names = {path.name for path in second.iterdir()} & {"kept", "removed", "changed", "folder", "link"}
    assert names == {"kept", "changed", "folder", "link"}
    assert ((second / "changed").read_text(), (second / "link").readlink()) == ("new", Path("/etc"))
    assert list((second / "folder").iterdir()) == []
    assert stat.S_IMODE((second / "folder").stat().st_mode) == 0o700


async def test_roots_over_what_was_written_do_not_change_it(snapshots):
    first = await snapshots.mount("r1", ())
    (first / "file").write_text("of the first")
    second = await snapshots.mount("r2", (), (await snapshots.written("r1"),))

    (second / "file").write_text("of the second")

    assert (first / "file").read_text() == "of the first"


async def test_nothing_written_is_told(snapshots):
    await snapshots.mount("r", ())

    assert await snapshots.written("r") is None


async def test_a_layer_is_there_only_when_it_is_whole(snapshots):
    folder = snapshots.staging()
    (folder / "file").touch()

    assert not snapshots.has("layer")
    snapshots.adopt(folder, "layer")
    assert snapshots.has("layer")


async def test_images_may_have_layers_by_the_hundred(snapshots):
    """The options of a mount are one page: 60 paths of usual length."""
    layers = tuple(a_layer(snapshots, f"{number:064d}", **{f"file{number}": ""}) for number in range(200))

    root = await snapshots.mount("r", layers)

    assert len(list(root.glob("file*"))) == 200


async def test_names_with_characters_that_mounts_use_are_no_matter(snapshots, tmp_path):
    odd = tmp_path / "a:b,c\\d"
    odd.mkdir()
    (odd / "file").touch()

    assert (await snapshots.mount("r", (), (odd,)) / "file").exists()


async def test_device_nodes_in_a_root_open_no_device(snapshots):
    root = await snapshots.mount("r", ())

    os.mknod(root / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))

    with pytest.raises(PermissionError):
        (root / "null").read_bytes()


async def test_removing_throws_changes_away_and_can_be_repeated(snapshots, tmp_path):
    await snapshots.mount("r", ())

    await snapshots.remove("r")
    await snapshots.remove("r")

    assert mounted_under(tmp_path) == []
    assert not (tmp_path / "roots/r").exists()


async def test_a_root_that_is_still_in_use_can_be_removed(snapshots, tmp_path):
    root = await snapshots.mount("r", ())
    descriptor = os.open(root, os.O_RDONLY)
    try:
        await snapshots.remove("r")
    finally:
        os.close(descriptor)

    assert mounted_under(tmp_path) == []


async def test_the_root_can_be_entered_by_any_user_whatever_the_umask(snapshots):
    before = os.umask(0o077)
    try:
        root = await snapshots.mount("r", ())
    finally:
        os.umask(before)

    assert root.stat().st_mode & 0o777 == 0o755


async def test_sweep_removes_what_an_earlier_engine_left(snapshots, tmp_path):
    await snapshots.mount("r", ())
    snapshots.staging()

    assert await OverlaySnapshots(home=tmp_path).sweep() == ["r"]
    assert mounted_under(tmp_path) == []
    assert not (tmp_path / "staging").exists()


ENGINE = """
import anyio, pathlib, sys
from freehold.worker.mountns import enter_private_mount_namespace
from freehold.worker.snapshots.overlay import OverlaySnapshots
enter_private_mount_namespace()
print(anyio.run(OverlaySnapshots(home=pathlib.Path(sys.argv[1])).mount, "r", ()), flush=True)
sys.stdin.read()
"""


async def test_mounts_of_an_engine_are_its_own_and_end_with_it(snapshots, tmp_path):
    """However it ends; nothing needs to be unmounted after `kill -9`."""
    async with await anyio.open_process([sys.executable, "-c", ENGINE, tmp_path]) as engine:
        assert (await engine.stdout.receive()).decode().strip() == str(tmp_path / "roots/r/merged")
        seen_by_the_machine = mounted_under(tmp_path)
        engine.kill()

    assert seen_by_the_machine == []
    assert await snapshots.sweep() == ["r"]


ENGINE_WITH_CONTAINER = """
import anyio, os, pathlib, signal, subprocess, sys
from freehold.worker.mountns import enter_private_mount_namespace
from freehold.worker.snapshots.overlay import OverlaySnapshots
enter_private_mount_namespace()
root = anyio.run(OverlaySnapshots(home=pathlib.Path(sys.argv[1])).mount, "r", ("base",))
print(subprocess.Popen(["sleep", "100"], cwd=root, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).pid, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


async def test_a_root_that_is_kept_goes_on_in_its_container_and_can_be_removed_afterwards(snapshots, tmp_path):
    """Its engine was killed, and the mount is in no namespace of the next one's."""
    a_layer(snapshots, "base", below="image")
    done = await anyio.run_process([sys.executable, "-c", ENGINE_WITH_CONTAINER, tmp_path], check=False)
    pid = int(done.stdout)
    inside = Path(f"/proc/{pid}/cwd")
    await snapshots.mount("other", ("base",))

    assert await OverlaySnapshots(home=tmp_path).sweep(keep={"r"}) == ["other"]

    (inside / "file").write_text("written")
    assert ((inside / "below").read_text(), (inside / "etc/hosts").read_text()) == ("image", "")
    os.kill(pid, signal.SIGKILL)
    await snapshots.remove("r")
    assert list(tmp_path.glob("roots/*")) == []


async def test_a_layer_holds_what_a_container_wrote_and_nothing_of_its_mounts(snapshots, tmp_path):
    folder = snapshots.staging()
    busybox_rootfs(folder / "root")
    (folder / "root").rename(tmp_path / "root")
    snapshots.adopt(tmp_path / "root", "busybox")
    rootfs = await snapshots.mount("r", ("busybox",))
    runtime = RuncRuntime(home=tmp_path)
    command = ("sh", "-c", "echo built > /root/file")

    container = await runtime.start(ContainerSpec(id="build-1", rootfs=rootfs, argv=command, stdout=1, stderr=2, env={"PATH": "/bin"}))
    await container.wait()
    await container.destroy()
    await runtime.sweep()
    await snapshots.unmount("r")
    await snapshots.commit("r", "built")

    layer = snapshots.path("built")
    assert [str(path.relative_to(layer)) for path in sorted(layer.rglob("*"))] == ["root", "root/file"]
