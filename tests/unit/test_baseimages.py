"""Which Debian suite and Python stand in for the official images."""

import pytest

from freehold.domain.baseimages import DebianBase, Reference, StandalonePython, debian_base, parse_reference, standalone_python
from freehold.domain.errors import InvalidRequest


def base_for(text, *pythons):
    return debian_base(parse_reference(text), pythons)


class TestReferences:
    @pytest.mark.parametrize("text", ["python:3.11", "library/python:3.11", "docker.io/library/python:3.11"])
    def test_the_public_registry_goes_without_saying(self, text):
        assert parse_reference(text) == Reference(repository="python", tag="3.11")

    def test_a_port_is_no_tag(self):
        assert parse_reference("localhost:5000/a/b") == Reference(repository="localhost:5000/a/b", tag="latest")

    def test_a_digest_is_kept(self):
        digest = "sha256:" + "a" * 64
        assert parse_reference(f"debian@{digest}").digest == digest

    @pytest.mark.parametrize("text", ["", "A b", "--x", "a@md5:1", "../x"])
    def test_nonsense_is_refused(self, text):
        with pytest.raises(InvalidRequest, match="Not a reference"):
            parse_reference(text)


class TestDebian:
    @pytest.mark.parametrize(
        ("tag", "suite"),
        [
            ("bookworm-slim", "bookworm"),
            ("12", "bookworm"),
            ("12.5-slim", "bookworm"),
            ("latest", "trixie"),
            ("stable-slim", "trixie"),
            ("bullseye", "bullseye"),
        ],
    )
    def test_tags_name_suites(self, tag, suite):
        assert base_for(f"debian:{tag}") == DebianBase(suite=suite)

    @pytest.mark.parametrize(
        "text", ["debian:buster", "ubuntu:22.04", "mambaorg/micromamba:1.5", "python:3.11-alpine", "debian@sha256:" + "0" * 64]
    )
    def test_what_only_a_registry_has_is_refused_with_a_way_out(self, text):
        with pytest.raises(InvalidRequest, match=r"container registry.*skopeo"):
            base_for(text, "3.11")


class TestPython:
    def test_the_machines_python_of_that_series_is_taken_whatever_its_last_number(self):
        assert base_for("python:3.11.12-slim-bookworm", "3.11", "3.12") == DebianBase(suite="bookworm", python="3.11")

    def test_the_suites_own_python_is_the_second_choice(self):
        assert base_for("python:3.11.12-slim-bookworm") == DebianBase(suite="bookworm", python="3.11", own_python=True)

    def test_without_a_suite_the_current_one_is_meant(self):
        assert base_for("python:3.12-slim", "3.12") == DebianBase(suite="trixie", python="3.12")

    def test_without_a_suite_any_with_that_python_will_do(self):
        assert base_for("python:3.11-slim") == DebianBase(suite="bookworm", python="3.11", own_python=True)

    @pytest.mark.parametrize("tag", ["3", "latest", "slim", "3-slim"])
    def test_without_a_version_the_newest_is_meant(self, tag):
        assert base_for(f"python:{tag}", "3.9", "3.14").python == "3.14"

    def test_a_python_that_cannot_be_had_is_refused_with_those_that_can(self):
        with pytest.raises(
            InvalidRequest, match=r"No Python 3\.14.*3\.9, 3\.12; Debian's own: .*3\.11 \(bookworm\).*uv python install 3\.14"
        ):
            base_for("python:3.14-slim-bookworm", "3.12", "3.9")


def test_the_mount_of_add_python_names_its_series():
    assert standalone_python("python-build-standalone.20230826.3.11.5-gnu") == StandalonePython(series="3.11", has_python_link=False)
    assert standalone_python("python-build-standalone.20261021.3.14.9-gnu") == StandalonePython(series="3.14", has_python_link=True)
    assert standalone_python("modal-client-mount-1.6.4") is None
