"""Paths in volumes and in containers, and the blocks of files."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from freehold.domain.errors import InvalidRequest
from freehold.domain.ids import new_volume_id
from freehold.domain.volumes import BLOCK_SIZE, VolumeMount, block_ranges, check_files, check_mounts, file_parts, new_file, path_parts

DIGEST = "0" * 64


@pytest.mark.parametrize(
    ("path", "parts"),
    [("", ()), ("/", ()), (".", ()), ("a", ("a",)), ("/a//b/./c/", ("a", "b", "c")), ("a b/ü", ("a b", "ü")), ("...", ("...",))],
)
def test_a_path_is_its_parts(path, parts):
    assert path_parts(path) == parts


@pytest.mark.parametrize("path", ["..", "a/../b", "/../etc", "a\0b", "x" * 256, "ü" * 128, "a/" * 2049])
def test_a_path_that_could_lead_out_or_is_too_long_is_refused(path):
    with pytest.raises(InvalidRequest):
        path_parts(path)


def test_the_root_is_no_file():
    with pytest.raises(InvalidRequest, match="Name a file"):
        file_parts("//")


class TestMounts:
    @staticmethod
    def at(*paths):
        check_mounts([VolumeMount(volume_id=new_volume_id(), path=path) for path in paths])

    @pytest.mark.parametrize("paths", [(), ("/data",), ("/root/data", "/tmp/x"), ("/a/b", "/a/c"), ("/data", "/data2")])
    def test_folders_side_by_side_are_fine(self, paths):
        self.at(*paths)

    @pytest.mark.parametrize(
        "path",
        [
            "",
            "data",
            "/",
            "//data",
            "/data/",
            "/a//b",
            "/a/../b",
            "/a/./b",
            "/root",
            "/tmp",
            "/proc/1",
            "/dev/shm",
            "/__freehold/task",
            "/a\0",
        ],
    )
    def test_a_path_that_is_needed_or_is_none_is_refused(self, path):
        with pytest.raises(InvalidRequest, match="volume"):
            self.at(path)

    @pytest.mark.parametrize("paths", [("/data", "/data"), ("/data", "/data/inner"), ("/a/b/c", "/a")])
    def test_one_inside_the_other_is_refused(self, paths):
        with pytest.raises(InvalidRequest, match="side by side"):
            self.at(*paths)


class TestBlocks:
    @given(start=st.integers(0, 5 * BLOCK_SIZE), length=st.integers(0, 5 * BLOCK_SIZE))
    def test_ranges_cover_all_bytes_once_and_each_is_in_one_block(self, start, length):
        at = start
        for first, size in block_ranges(start, start + length):
            assert first == at
            assert size > 0
            assert first // BLOCK_SIZE == (first + size - 1) // BLOCK_SIZE
            at += size
        assert at == start + length

    @pytest.mark.parametrize(("size", "count"), [(0, 0), (1, 1), (BLOCK_SIZE, 1), (BLOCK_SIZE + 1, 2), (None, 1)])
    def test_a_file_has_as_many_blocks_as_its_size_takes(self, size, count):
        assert new_file("a", blocks=[DIGEST] * count, mode=0o644, size=size).size == size
        with pytest.raises(InvalidRequest, match="blocks"):
            new_file("a", blocks=[DIGEST] * (count + 1), mode=0o644, size=size)

    def test_only_permissions_are_taken_of_a_mode(self):
        assert new_file("a", blocks=[DIGEST], mode=0o106755).mode == 0o755

    def test_two_files_of_one_path_are_refused(self):
        files = [new_file(path, blocks=[DIGEST], mode=0o644) for path in ("a/b", "/a/./b")]
        with pytest.raises(InvalidRequest, match="a/b"):
            check_files(files)

    @pytest.mark.parametrize("paths", [("a", "a/b"), ("a/b/c/d", "x", "a/b")])
    def test_a_file_that_another_has_for_its_folder_is_refused(self, paths):
        with pytest.raises(InvalidRequest, match="as a folder"):
            check_files([new_file(path, blocks=[DIGEST], mode=0o644) for path in paths])

    def test_files_side_by_side_are_taken(self):
        check_files([new_file(path, blocks=[DIGEST], mode=0o644) for path in ("a/b", "a/c", "ab", "d")])
