"""Volumes: what one container writes, others see, and the client and its commands too; and nothing that is put there leads out."""

import io
import json
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import modal
import pytest

from conformance.deployment import Deployment, deployed
from conformance.engine import Engine
from conformance.test_adoption import die_and_rise
from conformance.waiting import eventually

NAME = "conformance"
LARGE = os.urandom(5 * 1024 * 1024) + bytes(100)  # more than fits into a message
SOON = 90  # seconds within which a fork or a snapshot is there, on a busy machine


@pytest.fixture(scope="module")
def app(engine: Engine) -> Iterator[Deployment]:
    with deployed(engine, "volumes.py") as app:
        yield app
    engine.modal("volume", "delete", "--yes", "--allow-missing", NAME).succeeded()


@pytest.fixture
def volume(app: Deployment) -> modal.Volume:
    """The one that the functions of the app have mounted."""
    return modal.Volume.from_name(NAME)


@pytest.fixture(params=[1, 2])
def own(engine: Engine, request: pytest.FixtureRequest) -> Iterator[modal.Volume]:
    """One of a test's own, of either version."""
    name = f"own-{secrets.token_hex(4)}"
    modal.Volume.objects.create(name, version=request.param)
    yield modal.Volume.from_name(name)
    modal.Volume.objects.delete(name, allow_missing=True)


def content(volume: modal.Volume, path: str) -> bytes:
    return b"".join(volume.read_file(path))


def paths(volume: modal.Volume, path: str = "/", *, recursive: bool = True) -> list[str]:
    return [entry.path for entry in volume.listdir(path, recursive=recursive)]


def fill(volume: modal.Volume, *, force: bool = True, **files: bytes) -> None:
    with volume.batch_upload(force=force) as batch:
        for name, data in files.items():
            batch.put_file(io.BytesIO(data), f"/{name}")


class TestContainers:
    def test_what_one_writes_another_sees_at_once_and_so_does_the_client(self, app: Deployment, volume: modal.Volume) -> None:
        app.function("read").remote("../../etc/hostname")  # it runs before there is anything to be seen
        writer = app.function("write").remote("deep/er/shared.txt", "from a container")

        reader, text = app.function("read").remote("deep/er/shared.txt")

        assert (reader != writer, text) == (True, "from a container")
        assert content(volume, "deep/er/shared.txt") == b"from a container"

    def test_commit_and_reload_succeed_though_a_file_is_open(self, app: Deployment) -> None:
        assert "committed.txt" in app.function("commit_and_reload").remote("committed.txt", "text")

    def test_outside_of_containers_they_are_refused(self, volume: modal.Volume) -> None:
        for ask in (volume.commit, volume.reload):
            with pytest.raises(RuntimeError, match="for containers"):
                ask()

    def test_a_running_class_sees_what_is_put_from_outside(self, app: Deployment, engine: Engine, tmp_path: Path) -> None:
        model, file, containers = app.cls("Model")(), tmp_path / "model.txt", set()
        for text in ("first", "second"):
            file.write_text(text)
            engine.modal("volume", "put", "--force", NAME, file, "/model.txt").succeeded()
            model.refresh.remote()
            container, seen = model.ask.remote()
            assert seen == text
            containers.add(container)
        assert len(containers) == 1

    def test_a_read_only_mount_cannot_be_written(self, app: Deployment, volume: modal.Volume) -> None:
        assert app.function("try_to_write").remote("never.txt") == "Read-only file system"
        assert "never.txt" not in paths(volume)

    def test_a_part_of_a_volume_is_made_when_it_is_mounted(self, app: Deployment, volume: modal.Volume) -> None:
        assert app.function("write_part").remote("note.txt", "hers") == ["note.txt"]
        assert content(volume, "users/ada/note.txt") == b"hers"

    def test_options_mount_another_one(self, app: Deployment, own: modal.Volume) -> None:
        fill(own, **{"other.txt": b"of the other one"})
        read = app.function("read").with_options(volumes={"/somewhere/else": own})

        assert read.remote("other.txt")[1] == "of the other one"
        with pytest.raises(FileNotFoundError):
            app.function("read").remote("other.txt")

    def test_one_that_may_ask_for_little_commits(self, app: Deployment, volume: modal.Volume) -> None:
        app.function("guarded").remote("guarded.txt")

        assert content(volume, "guarded.txt") == b"by one that may ask for little"
        assert "background commit failed" not in app.logs()

    def test_a_forked_container_has_the_same_mounts_as_another(self, app: Deployment) -> None:
        app.function("write").remote("for-forks.txt", "x")
        plain: dict[str, Any] = app.function("look").remote()

        def ask() -> dict[str, Any] | None:
            answer: dict[str, Any] = app.function("look").remote()
            return answer if answer["forked"] else None

        forked = eventually(ask, within=SOON, what="A fork with a volume") or {}
        assert "for-forks.txt" in forked["files"]
        assert {"nodev", "nosuid", "rw"} <= set(forked["options"]) == set(plain["options"])

    def test_state_of_a_snapshot_stays_and_files_are_those_of_now(self, app: Deployment, volume: modal.Volume) -> None:
        fill(volume, **{"snapshot.txt": b"then"})

        def ask() -> dict[str, Any] | None:
            answer: dict[str, Any] = app.cls("Snapshotted")().ask.remote()
            return answer if answer["of_snapshot"] else None

        assert eventually(ask, within=SOON, what="A fork of the snapshot")
        fill(volume, **{"snapshot.txt": b"now"})
        answer = eventually(ask, within=SOON, what="A fork of the snapshot") or {}
        assert (answer["loaded"], answer["now"]) == ("then", "now")

    def test_what_is_in_a_volume_survives_an_engine_that_is_killed(self, app: Deployment, volume: modal.Volume) -> None:
        """With the container that has it mounted, which goes on writing."""
        writer = app.function("write").remote("survives.txt", "before")

        die_and_rise(app.engine)

        assert content(volume, "survives.txt") == b"before"
        assert app.function("write").remote("survives.txt", "after") == writer
        assert content(volume, "survives.txt") == b"after"


class TestPlanted:
    """Root in a container can make any link, pipe or device in a volume."""

    @pytest.fixture(autouse=True)
    def _planted(self, app: Deployment) -> None:
        app.function("plant").remote(
            "mkdir -p led && ln -sfn / led/away && ln -sfn /etc/passwd led/passwd && rm -f led/pipe && mkfifo led/pipe && ln -sfn / led/astray"
        )

    def test_links_are_told_and_not_followed(self, volume: modal.Volume) -> None:
        kinds = {entry.path: entry.type.name for entry in volume.listdir("/led", recursive=True)}

        assert kinds == {"led/astray": "SYMLINK", "led/away": "SYMLINK", "led/passwd": "SYMLINK", "led/pipe": "FIFO"}
        for path in ("led/passwd", "led/away/etc/passwd", "led/pipe", "led/../led/passwd", "/../../../../etc/passwd"):
            with pytest.raises(modal.exception.InvalidError):
                content(volume, path)

    def test_nothing_is_written_or_removed_through_them(self, volume: modal.Volume, tmp_path: Path) -> None:
        victim = tmp_path / "victim"
        victim.write_text("unharmed")
        inside = f"led/away{victim}"

        with pytest.raises(modal.exception.InvalidError):
            fill(volume, **{inside: b"harm"})
        with pytest.raises(modal.exception.InvalidError):
            volume.remove_file(inside)
        with pytest.raises(modal.exception.InvalidError):
            volume.copy_files([inside], "stolen")
        volume.remove_file("led/passwd")

        assert victim.read_text() == "unharmed"
        assert Path("/etc/passwd").exists()

    def test_a_part_that_is_a_link_is_not_mounted(self, app: Deployment) -> None:
        """It would show the machine's root."""
        with pytest.raises(modal.exception.Error, match="Links in volumes are not followed"):
            app.function("read_part").remote()

    def test_a_download_of_all_leaves_them_out(self, app: Deployment, engine: Engine, tmp_path: Path) -> None:
        engine.modal("volume", "get", NAME, "/led", tmp_path).succeeded()

        assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


class TestUploads:
    def test_files_small_and_large_come_back_as_they_were(self, own: modal.Volume, tmp_path: Path) -> None:
        (tmp_path / "folder" / "inner").mkdir(parents=True)
        (tmp_path / "folder" / "inner" / "large.bin").write_bytes(LARGE * 4)
        (tmp_path / "folder" / "empty").touch()

        with own.batch_upload() as batch:
            batch.put_file(io.BytesIO(b"some data"), "/a/b.txt")
            batch.put_file(tmp_path / "folder" / "empty", "run.sh", mode=0o755)
            batch.put_directory(tmp_path / "folder", "/models")

        assert content(own, "a/b.txt") == b"some data"
        assert content(own, "models/inner/large.bin") == LARGE * 4
        assert content(own, "models/empty") == b""
        assert paths(own) == ["a", "models", "run.sh", "a/b.txt", "models/empty", "models/inner", "models/inner/large.bin"]

    def test_zeros_that_are_not_sent_are_there(self, own: modal.Volume) -> None:
        data = b"begin" + bytes(20 * 1024 * 1024) + b"end" + bytes(9 * 1024 * 1024)

        fill(own, **{"sparse.bin": data})

        assert content(own, "sparse.bin") == data

    def test_what_is_there_is_replaced_by_force_only(self, own: modal.Volume) -> None:
        fill(own, **{"file": b"first", "folder/file": b"inside"})

        with pytest.raises(FileExistsError, match="file"):
            fill(own, force=False, other=b"other", file=b"second")
        assert "other" not in paths(own), "all or nothing"
        fill(own, file=b"second")
        assert content(own, "file") == b"second"
        with pytest.raises(modal.exception.InvalidError, match="is a folder"):
            fill(own, folder=b"no folder any more")

    def test_the_same_content_is_sent_once(self, own: modal.Volume) -> None:
        fill(own, **{"one.bin": LARGE, "two.bin": LARGE})
        fill(own, **{"three.bin": LARGE})

        assert content(own, "two.bin") == content(own, "three.bin") == LARGE

    def test_files_are_copied_and_removed(self, own: modal.Volume) -> None:
        fill(own, **{"a/one": b"1", "a/two": b"2", "b/three": b"3"})

        own.copy_files(["a/one"], "copy")
        own.copy_files(["a/one", "a/two"], "b/")
        own.remove_file("a/one")
        own.remove_file("/a", recursive=True)

        assert paths(own) == ["b", "copy", "b/one", "b/three", "b/two"]
        assert content(own, "copy") == content(own, "b/one") == b"1"
        for path in ("a/one", "nothing/there"):
            with pytest.raises(FileNotFoundError):
                own.remove_file(path)
            with pytest.raises(FileNotFoundError):
                content(own, path)
        with pytest.raises(modal.exception.InvalidError, match="recursive"):
            own.remove_file("b")

    def test_folders_are_listed_by_themselves_or_with_all_below(self, own: modal.Volume) -> None:
        fill(own, **{"top": b"12345", "a/b/c": b"1"})

        assert paths(own, recursive=False) == ["a", "top"]
        assert paths(own, "/a", recursive=True) == ["a/b", "a/b/c"]
        (entry,) = own.listdir("top")
        assert (entry.path, entry.type.name, entry.size) == ("top", "FILE", 5)
        with pytest.raises(modal.exception.NotFoundError, match="modal volume ls"):
            own.listdir("missing")


class TestNames:
    def test_an_ephemeral_one_lives_with_its_block(self, app: Deployment) -> None:
        with modal.Volume.ephemeral(_heartbeat_sleep=0.1) as volume:
            fill(volume, **{"a/file": b"1"})

            assert app.function("list_by_id").remote(volume.object_id) == ["a", "a/file"]
            assert volume.object_id not in {each.object_id for each in modal.Volume.objects.list()}

    def test_they_are_made_listed_and_deleted_by_name(self, engine: Engine) -> None:
        name = f"named-{secrets.token_hex(4)}"
        with pytest.raises(modal.exception.NotFoundError, match="modal volume create"):
            modal.Volume.from_name(name).hydrate()
        modal.Volume.objects.create(name)
        with pytest.raises(modal.exception.AlreadyExistsError):
            modal.Volume.objects.create(name)
        modal.Volume.objects.create(name, allow_existing=True)
        found = modal.Volume.from_name(name, create_if_missing=True, version=1).hydrate()

        assert modal.Volume.from_id(found.object_id).hydrate().name == name
        assert name in {volume.name for volume in modal.Volume.objects.list()}
        assert name not in {volume.name for volume in modal.Volume.objects.list(created_before="2020-01-01")}
        modal.Volume.objects.delete(name)
        assert name not in {volume.name for volume in modal.Volume.objects.list()}
        with pytest.raises(modal.exception.NotFoundError):
            modal.Volume.from_id(found.object_id).hydrate()

    def test_a_volume_that_is_not_there_stops_the_deploy_by_name(self, engine: Engine, tmp_path: Path) -> None:
        script = tmp_path / "app.py"
        script.write_text(
            "import modal\napp = modal.App('x')\n@app.function(volumes={'/v': modal.Volume.from_name('nobody-made-this')})\ndef f(): ...\n"
        )

        ran = engine.modal("deploy", script)

        assert ran.code != 0
        assert "nobody-made-this" in ran.output

    def test_one_that_is_deleted_is_gone_for_all(self, engine: Engine, app: Deployment, own: modal.Volume) -> None:
        """A container that has it mounted sees it empty; no other starts with it."""
        fill(own, file=b"text")
        read = app.function("read").with_options(volumes={"/somewhere/else": own})
        assert read.remote("file")[1] == "text"

        modal.Volume.objects.delete(own.name or "")

        with pytest.raises(FileNotFoundError):
            read.remote("file")
        assert not (engine.home / "volumes" / own.object_id).exists()


class TestCommands:
    def test_a_volume_is_made_filled_looked_at_and_deleted(self, engine: Engine, tmp_path: Path) -> None:
        name = f"commands-{secrets.token_hex(4)}"
        (tmp_path / "local").mkdir()
        (tmp_path / "local" / "one.txt").write_text("one")

        assert name in engine.modal("volume", "create", name).succeeded().output
        assert name in [row["name"] for row in json.loads(engine.modal("volume", "list", "--json").succeeded().output)]
        engine.modal("volume", "put", name, tmp_path / "local", "/folder").succeeded()
        engine.modal("volume", "put", name, tmp_path / "local" / "one.txt").succeeded()
        assert engine.modal("volume", "put", name, tmp_path / "local" / "one.txt").code != 0, "it is there"
        engine.modal("volume", "cp", name, "one.txt", "folder/two.txt").succeeded()
        assert sorted(engine.modal("volume", "ls", name, "folder").succeeded().output.split()) == ["folder/one.txt", "folder/two.txt"]

        (tmp_path / "got").mkdir()
        engine.modal("volume", "get", name, "folder", tmp_path / "got").succeeded()
        assert (tmp_path / "got" / "folder" / "two.txt").read_text() == "one"
        assert "one" in engine.modal("volume", "get", name, "one.txt", "-").succeeded().output

        engine.modal("volume", "rm", name, "one.txt").succeeded()
        assert engine.modal("volume", "rm", name, "folder").code != 0, "it is a folder"
        engine.modal("volume", "rm", "-r", name, "folder").succeeded()
        assert engine.modal("volume", "ls", name).succeeded().output.split() == []

        engine.modal("volume", "rename", "--yes", name, f"{name}-new").succeeded()
        engine.modal("volume", "delete", "--yes", f"{name}-new").succeeded()
        assert engine.modal("volume", "ls", f"{name}-new").code != 0

    def test_folders_are_copied_in_volumes_of_version_2(self, engine: Engine, tmp_path: Path) -> None:
        name = f"second-{secrets.token_hex(4)}"
        (tmp_path / "one.txt").write_text("one")
        engine.modal("volume", "create", "--version", "2", name).succeeded()
        engine.modal("volume", "put", name, tmp_path / "one.txt", "a/b/one.txt").succeeded()

        engine.modal("volume", "cp", "-r", name, "a", "copy").succeeded()

        assert engine.modal("volume", "ls", name, "copy/b").succeeded().output.split() == ["copy/b/one.txt"]
        engine.modal("volume", "delete", "--yes", name).succeeded()

    def test_volumes_belong_to_an_environment_and_go_with_it(self, engine: Engine) -> None:
        space = f"volumes-{secrets.token_hex(4)}"
        engine.modal("environment", "create", space).succeeded()
        modal.Volume.objects.create("scoped", environment_name=space)

        assert [volume.name for volume in modal.Volume.objects.list(environment_name=space)] == ["scoped"]
        assert "scoped" not in {volume.name for volume in modal.Volume.objects.list()}
        engine.modal("environment", "delete", "--yes", space).succeeded()
        with pytest.raises(modal.exception.NotFoundError):
            modal.Volume.from_name("scoped", environment_name=space).hydrate()
