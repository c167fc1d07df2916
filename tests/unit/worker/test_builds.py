"""The parts of a build that need no container: settings, contexts, copies, archives, file trees, what a site contributes."""

import gzip
import hashlib
import io
import os
import stat
import tarfile

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from freehold.domain.dockerfile import Copy, expanded, parse
from freehold.domain.errors import InvalidRequest, NotFound
from freehold.domain.files import FileTree, TreeFile
from freehold.domain.ids import ImageId, LayerId
from freehold.domain.images import ImageConfig
from freehold.wire.worker import BuildSpec
from freehold.worker.builds.context import BuildContext
from freehold.worker.builds.copying import copy_into
from freehold.worker.builds.layers import layer_key
from freehold.worker.builds.pythons import MachinePython, copy_python
from freehold.worker.builds.rootfs import resolve
from freehold.worker.builds.site import CA_BUNDLE, missing_certificates, site_env
from freehold.worker.builds.stage import Stage, configured
from freehold.worker.builds.unpacking import unpack_archive, unpack_layer
from freehold.worker.locks import KeyedLocks
from freehold.worker.trees import Trees


class FolderContent:
    """A content store in a folder."""

    def __init__(self, folder):
        self._folder = folder
        folder.mkdir()

    def put(self, text):
        digest = hashlib.sha256(text.encode()).hexdigest()
        (self._folder / digest).write_text(text)
        (self._folder / digest).chmod(0o644)
        return digest

    def path_of(self, digest):
        if not (self._folder / digest).exists():
            raise NotFound(digest)
        return self._folder / digest


@pytest.fixture
def content(tmp_path):
    return FolderContent(tmp_path / "content")


@pytest.fixture
def root(tmp_path):
    folder = tmp_path / "root"
    folder.mkdir()
    return folder


def tree_of(content, files, modes=()):
    listed = tuple(TreeFile(path=path, digest=content.put(text), mode=dict(modes).get(path, 0o644)) for path, text in files)
    return FileTree(id="tree", files=listed)


def files_under(folder):
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file() and not path.is_symlink()}


def after(stage, *commands, build_args=(), global_args=()):
    for step in parse(commands):
        stage = configured(stage, expanded(step, stage.variables), dict(build_args), dict(global_args))
    return stage


def one_copy(text):
    (step,) = parse([text])
    step = expanded(step, {})
    assert isinstance(step, Copy)
    return step


class TestSettings:
    stage = Stage(layers=(), config=ImageConfig(env={"A": "1"}, cmd=("sleep",)))

    def test_variables_build_on_each_other(self):
        assert after(self.stage, "ENV B=$A$A", "ENV C=${B}0").config.env == {"A": "1", "B": "11", "C": "110"}

    def test_a_relative_folder_starts_at_the_last_one(self):
        assert after(self.stage, "WORKDIR /a/b", "WORKDIR ../c").config.workdir == "/a/c"

    def test_a_new_entrypoint_voids_the_arguments_of_the_base_and_only_those(self):
        assert after(self.stage, 'ENTRYPOINT ["x"]').config.cmd == ()
        assert after(self.stage, 'CMD ["y"]', 'ENTRYPOINT ["x"]').config.cmd == ("y",)

    def test_the_shell_form_uses_the_images_shell(self):
        assert after(self.stage, 'SHELL ["/bin/bash", "-ec"]', "CMD a && b").config.cmd == ("/bin/bash", "-ec", "a && b")

    @pytest.mark.parametrize(
        ("command", "build_args", "global_args", "value"),
        [("ARG X=d", {}, {}, "d"), ("ARG X=d", {"X": "b"}, {"X": "g"}, "b"), ("ARG X", {}, {"X": "g"}, "g"), ("ARG X", {}, {}, None)],
    )
    def test_arguments_come_from_the_build_the_command_or_the_global_ones(self, command, build_args, global_args, value):
        assert after(self.stage, command, build_args=build_args, global_args=global_args).args.get("X") == value

    def test_an_image_variable_wins_over_an_argument(self):
        assert after(self.stage, "ARG A=2", "ENV B=$A").config.env["B"] == "1"


class TestLayerKeys:
    def test_everything_that_decides_a_layer_changes_its_key(self):
        keys = {
            layer_key("run", ()),
            layer_key("copy", ()),
            layer_key("run", (LayerId("a"),)),
            layer_key("run", (LayerId("a"), LayerId("b"))),
            layer_key("run", (LayerId("ab"),)),
            layer_key("run", (), env={"A": "1"}),
            layer_key("run", (), env={"A": "2"}),
        }
        assert len(keys) == 7

    def test_the_order_of_facts_does_not_matter(self):
        assert layer_key("run", (), env={"A": "1", "B": "2"}, cwd="/") == layer_key("run", (), cwd="/", env={"B": "2", "A": "1"})


class TestContext:
    @pytest.fixture
    def context(self, content):
        tree = tree_of(content, [("/a.py", "a"), ("/src/b.py", "b"), ("/src/deep/c.py", "c"), ("/.hidden", "h")])
        spec = BuildSpec(image_id=ImageId("im"), commands=(), context=tree, context_files={"/reqs.txt": b"numpy"})
        return BuildContext(spec, content)

    @pytest.mark.parametrize(
        ("pattern", "paths"),
        [
            (".", {"a.py", "src/b.py", "src/deep/c.py", ".hidden", "reqs.txt"}),
            ("./src/", {"src/b.py", "src/deep/c.py"}),
            ("src", {"src/b.py", "src/deep/c.py"}),
            ("*.py", {"a.py"}),
            ("s*/*.py", {"src/b.py"}),
            ("src/[a-b].py", {"src/b.py"}),
            ("?.py", {"a.py"}),
            ("reqs.txt", {"reqs.txt"}),
        ],
    )
    def test_patterns_match_files_and_whole_folders(self, context, pattern, paths):
        assert {file.path for file in context.matching(one_copy(f"COPY {pattern} /to"))} == paths

    def test_a_pattern_without_files_is_refused(self, context):
        with pytest.raises(InvalidRequest, match=r"found nothing for 'sr'"):
            context.matching(one_copy("COPY sr /to"))

    def test_an_add_says_why_the_client_did_not_send_its_file(self, context):
        with pytest.raises(InvalidRequest, match="only files that a COPY names"):
            context.matching(one_copy("ADD nope.tar /to"))

    def test_it_is_laid_out_as_it_was_sent(self, context, tmp_path):
        context.lay_out(context.matching(one_copy("COPY src reqs.txt /to/")), tmp_path / "out")
        assert files_under(tmp_path / "out") == {"src/b.py": "b", "src/deep/c.py": "c", "reqs.txt": "numpy"}

    @pytest.mark.parametrize("path", ["../x", "/a/../../x", "a\0b"])
    def test_paths_that_leave_it_are_refused(self, content, path):
        with pytest.raises(InvalidRequest):
            BuildContext(BuildSpec(image_id=ImageId("im"), commands=(), context_files={path: b""}), content)

    @pytest.mark.parametrize("order", [("/a", "/a/b"), ("/a/b", "/a")])
    def test_a_file_and_a_folder_in_one_place_are_refused(self, content, tmp_path, order):
        context = BuildContext(BuildSpec(image_id=ImageId("im"), commands=(), context_files=dict.fromkeys(order, b"")), content)

        with pytest.raises(InvalidRequest, match="both a file and a folder"):
            context.lay_out(context.matching(one_copy("COPY . /")), tmp_path / "out")


class TestCopying:
    @pytest.fixture
    def source(self, tmp_path):
        folder = tmp_path / "source"
        (folder / "dir/sub").mkdir(parents=True)
        (folder / "file").write_text("file")
        (folder / "dir/one").write_text("one")
        (folder / "dir/sub/two").write_text("two")
        (folder / "dir/link").symlink_to("one")
        return folder

    def copy(self, root, source, text, workdir="/"):
        copy_into(root, workdir, one_copy(text), source)

    def test_a_file_takes_the_name_of_its_destination(self, root, source):
        self.copy(root, source, "COPY file /a/b")
        assert files_under(root) == {"a/b": "file"}

    def test_a_slash_an_existing_folder_or_several_sources_mean_inside(self, root, source):
        (root / "there").mkdir()
        self.copy(root, source, "COPY file /new/")
        self.copy(root, source, "COPY file /there")
        self.copy(root, source, "COPY file dir/one /both")
        assert files_under(root) == {"new/file": "file", "there/file": "file", "both/file": "file", "both/one": "one"}

    def test_of_a_folder_the_content_is_copied_and_merged(self, root, source):
        (root / "to").mkdir()
        (root / "to/kept").write_text("kept")
        self.copy(root, source, "COPY dir /to")
        assert files_under(root) == {"to/kept": "kept", "to/one": "one", "to/sub/two": "two"}
        assert str((root / "to/link").readlink()) == "one"

    def test_relative_destinations_start_at_the_working_folder(self, root, source):
        self.copy(root, source, "COPY file .", workdir="/app")
        self.copy(root, source, "COPY file x/", workdir="/app")
        assert files_under(root) == {"app/file": "file", "app/x/file": "file"}

    def test_modes_and_owners(self, root, source):
        (source / "file").chmod(0o600)
        self.copy(root, source, "COPY file /kept")
        self.copy(root, source, "COPY --chmod=4755 --chown=12:34 file /set")
        assert stat.S_IMODE((root / "kept").stat().st_mode) == 0o600
        facts = (root / "set").stat()
        assert (stat.S_IMODE(facts.st_mode), facts.st_uid, facts.st_gid) == (0o4755, 12, 34)

    def test_links_of_the_image_lead_to_places_in_the_image(self, root, source, tmp_path):
        """`/var/run -> /run` in an image must not make the engine write to the machine's /run."""
        outside = tmp_path / "outside"
        outside.mkdir()
        (root / "abs").symlink_to(outside)
        (root / "up").symlink_to("../../../../../.." + str(outside))
        self.copy(root, source, "COPY file /abs/")
        self.copy(root, source, "COPY dir /up")
        assert list(outside.iterdir()) == []
        assert (root / str(outside).lstrip("/") / "file").read_text() == "file"

    def test_links_of_the_source_lead_to_places_in_the_source(self, root, source, tmp_path):
        (tmp_path / "secret").write_text("secret")
        (source / "leak").symlink_to(tmp_path / "secret")
        with pytest.raises(InvalidRequest, match="found nothing"):
            self.copy(root, source, "COPY leak /leak")

    def test_a_name_that_is_not_there_is_refused(self, root, source):
        with pytest.raises(InvalidRequest, match="found nothing for 'nope'"):
            self.copy(root, source, "COPY nope /")

    def test_add_unpacks_archives_and_copy_does_not(self, root, source):
        with tarfile.open(source / "a.tar.gz", "w:gz") as tar:
            tar.add(source / "dir", arcname="dir")
        self.copy(root, source, "ADD a.tar.gz /added")
        self.copy(root, source, "COPY a.tar.gz /copied/")
        assert (root / "added/dir/sub/two").read_text() == "two"
        assert [path.name for path in (root / "copied").iterdir()] == ["a.tar.gz"]

    @pytest.mark.parametrize("mode", ["u+x", "888"])
    def test_a_mode_that_is_not_octal_is_refused(self, root, source, mode):
        with pytest.raises(InvalidRequest, match="octal"):
            self.copy(root, source, f"COPY --chmod={mode} file /x")


class TestUnpacking:
    def archive(self, tmp_path, *members):
        """Members: (name, type, link target or content)."""
        with tarfile.open(tmp_path / "archive.tar", "w") as tar:
            for name, kind, more in members:
                info = tarfile.TarInfo(name)
                info.type, info.mode = kind, 0o644 if kind == tarfile.REGTYPE else 0o755
                data = b""
                if kind in (tarfile.SYMTYPE, tarfile.LNKTYPE):
                    info.linkname = more
                else:
                    data = more.encode()
                    info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
        return tmp_path / "archive.tar"

    def test_files_folders_and_links(self, tmp_path, root):
        archive = self.archive(
            tmp_path,
            ("./", tarfile.DIRTYPE, ""),
            ("./d", tarfile.DIRTYPE, ""),
            ("./d/f", tarfile.REGTYPE, "text"),
            ("hard", tarfile.LNKTYPE, "./d/f"),
            ("soft", tarfile.SYMTYPE, "/d/f"),
            ("null", tarfile.CHRTYPE, ""),
        )
        unpack_layer(archive, root)
        assert files_under(root) == {"d/f": "text", "hard": "text"}
        assert str((root / "soft").readlink()) == "/d/f"
        assert (root / "hard").stat().st_ino == (root / "d/f").stat().st_ino

    def test_an_archive_for_a_folder_links_within_that_folder(self, tmp_path, root):
        unpack_archive(self.archive(tmp_path, ("f", tarfile.REGTYPE, "x"), ("g", tarfile.LNKTYPE, "f")), root, "/to")
        assert files_under(root) == {"to/f": "x", "to/g": "x"}

    def test_whiteouts_become_those_of_overlayfs(self, tmp_path, root):
        unpack_layer(self.archive(tmp_path, ("d/.wh.gone", tarfile.REGTYPE, ""), ("e/.wh..wh..opq", tarfile.REGTYPE, "")), root)
        gone = (root / "d/gone").lstat()
        assert stat.S_ISCHR(gone.st_mode)
        assert gone.st_rdev == 0
        assert os.getxattr(root / "e", "trusted.overlay.opaque") == b"y"

    @pytest.mark.parametrize("name", ["../evil", "a/../../evil", ".wh.../x/.."])
    def test_names_that_lead_out_are_refused(self, tmp_path, root, name):
        with pytest.raises(InvalidRequest, match="outside"):
            unpack_layer(self.archive(tmp_path, (name, tarfile.REGTYPE, "x")), root)
        assert list(root.iterdir()) == []

    @pytest.mark.parametrize("target", ["{outside}", "../outside", "../../../../../../../../{outside}"])
    def test_a_link_in_the_archive_does_not_lead_its_files_out(self, tmp_path, root, target):
        outside = tmp_path / "outside"
        outside.mkdir()
        target = target.format(outside=outside)
        unpack_layer(self.archive(tmp_path, ("x", tarfile.SYMTYPE, target), ("x/evil", tarfile.REGTYPE, "x")), root)
        assert list(outside.iterdir()) == []

    @pytest.mark.parametrize("damage", [lambda data: data[: len(data) // 2], lambda data: data[:40] + b"spoilt" + data[46:]])
    def test_a_damaged_archive_says_so(self, tmp_path, root, damage):
        whole = gzip.compress(self.archive(tmp_path, *((f"f{i}", tarfile.REGTYPE, "x" * i) for i in range(50))).read_bytes())
        (tmp_path / "damaged.tgz").write_bytes(damage(whole))

        with pytest.raises(InvalidRequest, match=r"damaged\.tgz cannot be unpacked"):
            unpack_archive(tmp_path / "damaged.tgz", root, "/to")

    def test_a_name_that_no_disk_takes_is_told_without_a_path_of_the_machine(self, tmp_path, root):
        with pytest.raises(InvalidRequest, match="File name too long") as caught:
            unpack_archive(self.archive(tmp_path, ("n" * 400, tarfile.REGTYPE, "x")), root, "/to")

        assert str(tmp_path) not in str(caught.value)

    def test_a_hard_link_cannot_name_a_file_outside(self, tmp_path, root):
        (tmp_path / "secret").write_text("secret")
        archive = self.archive(tmp_path, ("x", tarfile.SYMTYPE, str(tmp_path)), ("y", tarfile.LNKTYPE, "x/secret"))
        with pytest.raises(InvalidRequest, match="no file in it"):
            unpack_layer(archive, root)

    def test_an_absolute_name_is_one_inside(self, tmp_path, root):
        unpack_layer(self.archive(tmp_path, ("/etc/x", tarfile.REGTYPE, "x")), root)
        assert files_under(root) == {"etc/x": "x"}


class TestResolve:
    @given(st.lists(st.sampled_from(["a", "b", "..", ".", "", "link", "up"]), max_size=8))
    def test_no_path_leaves_the_root(self, tmp_path_factory, parts):
        root = tmp_path_factory.mktemp("root")
        (root / "a").mkdir()
        (root / "link").symlink_to("/a/up")
        (root / "a/up").symlink_to("../../..")
        assert resolve(root, "/".join(parts)).is_relative_to(root)

    def test_links_in_a_circle_are_refused(self, root):
        (root / "x").symlink_to("y")
        (root / "y").symlink_to("x")
        with pytest.raises(InvalidRequest, match="Too many symbolic links"):
            resolve(root, "/x")


class TestTrees:
    @pytest.fixture
    def trees(self, tmp_path, content):
        return Trees(tmp_path / "home", content)

    async def test_files_are_hard_links_to_the_content(self, trees, content):
        folder = await trees.materialize(tree_of(content, [("/root/app.py", "x")]))
        assert (folder / "root/app.py").samefile(content.path_of(hashlib.sha256(b"x").hexdigest()))

    async def test_a_file_of_another_mode_is_a_copy(self, trees, content):
        folder = await trees.materialize(tree_of(content, [("/a", "x"), ("/b", "x")], modes=[("/b", 0o755)]))
        assert stat.S_IMODE((folder / "b").stat().st_mode) == 0o755
        assert stat.S_IMODE((folder / "a").stat().st_mode) == 0o644

    async def test_folders_do_not_hide_the_images_links(self, trees, content):
        folder = await trees.materialize(tree_of(content, [("/bin/x", "1"), ("/lib/y", "2"), ("/var/run/z", "3"), ("/binary/w", "4")]))
        assert files_under(folder) == {"usr/bin/x": "1", "usr/lib/y": "2", "run/z": "3", "binary/w": "4"}

    async def test_folders_have_their_usual_modes(self, trees, content):
        folder = await trees.materialize(tree_of(content, [("/tmp/a/x", "1"), ("/root/y", "2")]))
        modes = {name: stat.S_IMODE((folder / name).stat().st_mode) for name in (".", "tmp", "tmp/a", "root")}
        assert modes == {".": 0o755, "tmp": 0o1777, "tmp/a": 0o755, "root": 0o700}

    async def test_it_is_made_once_and_whole(self, trees, content, tmp_path):
        tree = tree_of(content, [("/a", "x")])
        missing = FileTree(id="other", files=(*tree.files, TreeFile(path="/b", digest="0" * 64)))
        first = await trees.materialize(tree)
        with pytest.raises(NotFound):
            await trees.materialize(missing)
        assert await trees.materialize(tree) == first
        assert [path.name for path in (tmp_path / "home/trees").iterdir()] == ["tree"]

    async def test_of_two_files_with_one_path_the_later_wins(self, trees, content):
        assert files_under(await trees.materialize(tree_of(content, [("/a", "1"), ("/a", "2")]))) == {"a": "2"}

    @pytest.mark.parametrize("paths", [["/../x"], ["x"], ["/"], ["/a", "/a/b"], ["/a/b", "/a"]])
    async def test_impossible_paths_are_refused(self, trees, content, paths):
        with pytest.raises(InvalidRequest):
            await trees.materialize(tree_of(content, [(path, path) for path in paths]))

    @pytest.mark.parametrize("tree_id", ["", "..", "a/b"])
    async def test_an_id_names_a_folder_in_its_place_or_none(self, trees, tree_id):
        with pytest.raises(InvalidRequest, match="id of a file tree"):
            await trees.materialize(FileTree(id=tree_id, files=()))


class TestSite:
    def test_proxies_and_web_indexes_are_passed_on(self):
        environ = {
            "HTTPS_PROXY": "http://p:1",
            "no_proxy": "x",
            "PIP_INDEX_URL": "https://i/simple",
            "PIP_EXTRA_INDEX_URL": "file:///x https://j/",
            "HOME": "/h",
        }
        expected = {"HTTPS_PROXY": "http://p:1", "no_proxy": "x", "PIP_INDEX_URL": "https://i/simple", "PIP_EXTRA_INDEX_URL": "https://j/"}
        assert site_env(environ) == expected

    def test_a_bundle_of_the_machine_becomes_the_one_of_the_image(self):
        assert site_env({"PIP_CERT": "/machine/ca.pem"})["SSL_CERT_FILE"] == CA_BUNDLE
        assert site_env({}) == {}

    def test_certificates_that_the_image_lacks_are_found_once(self):
        one, two = (f"-----BEGIN CERTIFICATE-----\n{body}\n-----END CERTIFICATE-----" for body in ("b25l", "dHdv"))
        assert missing_certificates(f"# site\n{one}\n{two}\n{two}", one.replace("\n", "\r\n")) == (two,)
        assert missing_certificates(one, one) == ()


def test_a_copied_python_forgets_where_it_came_from(tmp_path):
    prefix = tmp_path / "python"
    library = prefix / "lib/python3.11"
    for folder in ("bin", "include/python3.11", "lib/pkgconfig", "lib/python3.11/site-packages/numpy", "lib/python3.11/test"):
        (prefix / folder).mkdir(parents=True)
    (prefix / "bin/python3.11").write_text("binary")
    (prefix / "bin/somebodys-tool").write_text(f"#!{prefix}/bin/python3.11")
    (prefix / "lib/libpython3.11.so.1.0").write_text("library")
    (prefix / "lib/pkgconfig/python3.pc").write_text(f"prefix={prefix}")
    (library / "os.py").write_text("")
    (library / "_sysconfigdata__linux_x86_64.py").write_text(f"build_time_vars = {{'prefix': '{prefix}'}}")
    copy_python(MachinePython(series="3.11", version="3.11.9", prefix=prefix), tmp_path / "local")
    assert files_under(tmp_path / "local") == {
        "bin/python3.11": "binary",
        "lib/libpython3.11.so.1.0": "library",
        "lib/pkgconfig/python3.pc": "prefix=/usr/local",
        "lib/python3.11/os.py": "",
        "lib/python3.11/_sysconfigdata__linux_x86_64.py": "build_time_vars = {'prefix': '/usr/local'}",
    }
    assert (tmp_path / "local/lib/python3.11/site-packages").is_dir()


async def test_a_lock_per_key_lets_others_pass_and_is_forgotten():
    locks = KeyedLocks()
    order = []

    async def use(key, name):
        async with locks.hold(key):
            order.append(f"{name} in")
            await anyio.lowlevel.checkpoint()
            order.append(f"{name} out")

    async with anyio.create_task_group() as group:
        group.start_soon(use, "a", "first")
        group.start_soon(use, "a", "second")
        group.start_soon(use, "b", "other")
    assert order.index("first out") < order.index("second in")
    assert order.index("other in") < order.index("first out")
    assert locks._locks == {}
