"""Reading Dockerfile commands: what the modal client writes, and what people write by hand."""

import json
import shlex

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from freehold.domain.dockerfile import Arg, Cmd, Copy, Entrypoint, Env, From, Run, Shell, User, Workdir, expanded, parse
from freehold.domain.errors import InvalidRequest, NotSupported


def one(command, **variables):
    """The single step of one command, variables replaced."""
    (step,) = parse([command])
    return expanded(step, variables)


class TestLines:
    def test_comments_and_empty_lines_say_nothing(self):
        assert parse(["# syntax=docker/dockerfile:1", "", "  # more", "FROM base"]) == (From(text="FROM base", reference="base"),)

    def test_continued_lines_become_one_command(self):
        (step,) = parse(["RUN a \\", "  # why", "", "  && b"])
        assert step.command == "a   && b"

    def test_a_text_of_several_lines_is_as_good_as_a_list_of_lines(self):
        assert parse(["FROM base\nRUN a"]) == parse(["FROM base", "RUN a"])

    def test_commands_may_be_written_in_lower_case(self):
        assert one("from debian:12 as Build") == From(text="FROM debian:12 as Build", reference="debian:12", alias="build")

    def test_an_unknown_command_is_named_with_the_known_ones(self):
        with pytest.raises(InvalidRequest, match=r"'INSTALL'.*ADD, ARG, CMD, COPY"):
            parse(["INSTALL numpy"])

    def test_a_command_without_arguments_is_refused(self):
        with pytest.raises(InvalidRequest, match="RUN needs something"):
            parse(["RUN"])

    def test_onbuild_is_refused_and_metadata_is_skipped(self):
        assert parse(["LABEL a=b", "EXPOSE 80", "VOLUME /data", "MAINTAINER me", "STOPSIGNAL 9", "HEALTHCHECK NONE"]) == ()
        with pytest.raises(NotSupported, match="ONBUILD"):
            parse(["ONBUILD RUN x"])


class TestRun:
    def test_the_shell_form_is_left_to_the_shell(self):
        assert one("RUN echo $HOME '$X'", HOME="/h").command == "echo $HOME '$X'"

    def test_the_exec_form_is_a_list(self):
        assert one('RUN ["python", "-c", "print(1)"]').command == ("python", "-c", "print(1)")

    def test_what_only_looks_like_a_list_is_a_shell_line(self):
        assert one("RUN [ -f /x ] && echo yes").command == "[ -f /x ] && echo yes"

    def test_options_are_set_apart(self):
        step = one("RUN --mount=type=cache,target=/root/.cache pip install x")
        assert (step.command, step.ignored) == ("pip install x", ("--mount=type=cache,target=/root/.cache",))

    def test_a_here_document_is_the_script(self):
        assert one("RUN <<EOF\nset -e\necho hi\nEOF").command == "set -e\necho hi"

    def test_a_here_document_for_a_program_stays_with_its_line(self):
        assert one("RUN python <<EOF\nprint(1)\nEOF").command == "python <<EOF\nprint(1)\nEOF"

    def test_a_here_document_without_its_end_is_refused(self):
        with pytest.raises(InvalidRequest, match="<<EOF has no end"):
            parse(["RUN <<EOF", "echo"])

    def test_a_shift_operator_is_no_here_document(self):
        assert one('RUN python -c "print(1<<4)"').command == 'python -c "print(1<<4)"'


class TestCopy:
    def test_sources_are_relative_to_the_context_whatever_they_start_with(self):
        step = one("COPY /requirements.txt ./src /app/")
        assert (step.patterns, step.destination, step.unpacks) == (("requirements.txt", "./src"), "/app/", False)

    def test_options_and_variables(self):
        step = one("COPY --from=$STAGE --chmod=755 --chown=1:2 a b", STAGE="build")
        assert (step.source, step.chmod, step.chown) == ("build", "755", "1:2")

    def test_names_with_blanks_are_written_as_a_list(self):
        assert one('COPY ["a b", "/c d"]').patterns == ("a b",)

    def test_add_unpacks(self):
        assert one("ADD x.tar.gz /").unpacks

    @pytest.mark.parametrize("source", ["../x", "a/../../b", "/.."])
    def test_paths_that_leave_the_context_are_refused(self, source):
        with pytest.raises(InvalidRequest, match="leaves the build context"):
            one(f"COPY {source} /x")

    def test_downloads_are_refused_with_advice(self):
        with pytest.raises(NotSupported, match="RUN curl"):
            parse(["ADD https://example.com/x /x"])

    def test_a_destination_is_required(self):
        with pytest.raises(InvalidRequest, match="source and a destination"):
            parse(["COPY x"])


class TestEnv:
    def test_pairs_with_quotes_and_variables(self):
        step = one("""ENV A=1 B="x $A y" C='$A' D=a\\ b""", A="0")
        assert step.pairs == (("A", "1"), ("B", "x 0 y"), ("C", "$A"), ("D", "a b"))

    def test_the_old_form_takes_the_rest_of_the_line(self):
        assert one("ENV KEY some value").pairs == (("KEY", "some value"),)

    def test_path_is_extended(self):
        assert one("ENV PATH=/.uv/.venv/bin:$PATH", PATH="/bin").pairs == (("PATH", "/.uv/.venv/bin:/bin"),)

    @pytest.mark.parametrize(
        ("word", "value"),
        [
            ("${X}", "1"),
            ("${X:-2}", "1"),
            ("${Y:-2}", "2"),
            ("${Y-$X}", "1"),
            ("${E-2}", ""),
            ("${E:-2}", "2"),
            ("${X:+3}", "3"),
            ("${Y:+3}", ""),
        ],
    )
    def test_substitution_follows_the_shell(self, word, value):
        assert one(f"ENV A={word}", X="1", E="").pairs == (("A", value),)

    def test_a_required_variable_that_is_missing_is_named(self):
        with pytest.raises(InvalidRequest, match="TOKEN is not set"):
            one("ENV A=${TOKEN:?}")

    def test_a_bad_name_is_refused(self):
        with pytest.raises(InvalidRequest, match="cannot be the name"):
            parse(["ENV 1A=2"])

    @example(" \n")
    @given(st.text(alphabet=st.characters(exclude_characters="\0\r", exclude_categories=("Cs",))))
    def test_whatever_value_the_client_quotes_arrives_unchanged(self, value):
        """`Image.env` writes `ENV KEY=` and shlex.quote of the value: newlines, quotes and dollars included."""
        assert one(f"ENV KEY={shlex.quote(value)}", x="wrong").pairs == (("KEY", value),)


class TestOtherCommands:
    def test_arguments_may_have_defaults(self):
        assert parse(["ARG A B=x"]) == (Arg(text="ARG A B=x", name="A"), Arg(text="ARG A B=x", name="B", default="x"))

    def test_workdir_and_user_take_variables(self):
        assert one("WORKDIR '/my app'/$X", X="y") == Workdir(text="WORKDIR '/my app'/$X", path="/my app/y")
        assert one("USER ${U:-nobody}").user == "nobody"
        assert isinstance(one("USER 1"), User)

    def test_entrypoint_and_cmd_in_both_forms(self):
        assert one(f"ENTRYPOINT {json.dumps(['a', 'ü'])}") == Entrypoint(text='ENTRYPOINT ["a", "\\u00fc"]', command=("a", "ü"))
        assert one("CMD sleep 1") == Cmd(text="CMD sleep 1", command="sleep 1")
        assert one("ENTRYPOINT []").command == ()

    def test_shell_takes_a_list_only(self):
        assert one('SHELL ["/bin/bash", "-c"]') == Shell(text='SHELL ["/bin/bash", "-c"]', argv=("/bin/bash", "-c"))
        with pytest.raises(InvalidRequest, match="JSON list"):
            parse(["SHELL /bin/bash"])

    def test_from_ignores_the_platform_and_refuses_nonsense(self):
        assert one("FROM --platform=linux/amd64 a:$T", T="1").reference == "a:1"
        with pytest.raises(InvalidRequest, match="FROM image AS name"):
            parse(["FROM a b"])

    def test_run_is_told_apart_from_its_neighbours(self):
        assert [type(step) for step in parse(["FROM a", "RUN b", "COPY c d", "ENV E=f"])] == [From, Run, Copy, Env]
