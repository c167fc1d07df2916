"""Where settings come from, and what a person reads when one of them is wrong."""

from datetime import timedelta
from pathlib import Path

import pytest

from freehold.config import Settings
from freehold.domain.errors import InvalidRequest


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("FREEHOLD_HOME", str(tmp_path))
    return tmp_path


def write(home, text):
    (home / "config.toml").write_text(text)


class TestSources:
    def test_later_sources_win_over_earlier_ones(self, home, monkeypatch):
        write(home, "control_port = 1001\ngateway_port = 1002\nmax_tasks = 3\n")
        monkeypatch.setenv("FREEHOLD_CONTROL_PORT", "2001")
        monkeypatch.setenv("FREEHOLD_GATEWAY_PORT", "2002")

        settings = Settings.load(gateway_port=3002)

        assert (settings.max_tasks, settings.control_port, settings.gateway_port) == (3, 2001, 3002)

    def test_each_value_names_its_source(self, home, monkeypatch):
        write(home, "max_tasks = 3\n")
        monkeypatch.setenv("FREEHOLD_CONTROL_PORT", "2001")

        sources = Settings.load(gateway_port=3002).sources(gateway_port=3002, host=None)

        assert sources["max_tasks"] == str(home / "config.toml")
        assert sources["control_port"] == "FREEHOLD_CONTROL_PORT"
        assert sources["gateway_port"] == "--gateway-port"
        assert sources["host"] == "default"

    def test_an_empty_variable_is_one_that_is_not_set(self, monkeypatch):
        monkeypatch.setenv("FREEHOLD_HOME", "")

        assert Settings.load().root == Path("~/.freehold").expanduser()

    def test_durations_may_be_written_as_seconds(self, home):
        write(home, "result_ttl = 3600\n")

        assert Settings.load().result_ttl == timedelta(hours=1)

    @pytest.mark.parametrize(("text", "seconds"), [("45", 45), ("2.5", 2.5), ("PT2M", 120)])
    def test_durations_of_the_environment_too(self, monkeypatch, text, seconds):
        monkeypatch.setenv("FREEHOLD_RESULT_TTL", text)

        assert Settings.load().result_ttl == timedelta(seconds=seconds)


class TestWhatIsWrong:
    def test_an_unknown_key_names_the_nearest_setting(self, home):
        write(home, "controlport = 1\n")

        with pytest.raises(InvalidRequest, match=r"'controlport' \(configuration file\). Did you mean 'control_port'"):
            Settings.load()

    def test_an_unknown_variable_names_the_nearest_setting(self, monkeypatch):
        monkeypatch.setenv("FREEHOLD_CONTRL_PORT", "1")

        with pytest.raises(InvalidRequest, match="Did you mean 'FREEHOLD_CONTROL_PORT'"):
            Settings.load()

    def test_a_name_like_no_other_points_to_the_list(self, home):
        write(home, "zzz = 1\n")

        with pytest.raises(InvalidRequest, match="`freehold config` lists the settings"):
            Settings.load()

    @pytest.mark.parametrize("value", ["0", "65536", "http"])
    def test_a_bad_value_is_shown_with_the_name_it_was_given_under(self, monkeypatch, value):
        monkeypatch.setenv("FREEHOLD_CONTROL_PORT", value)

        with pytest.raises(InvalidRequest, match=rf"control_port \(FREEHOLD_CONTROL_PORT\) cannot be '{value}': input should be"):
            Settings.load()

    def test_the_file_cannot_move_the_home_that_it_lies_in(self, home):
        write(home, 'home = "/elsewhere"\n')

        with pytest.raises(InvalidRequest, match="Set FREEHOLD_HOME instead"):
            Settings.load()

    def test_a_file_that_is_no_toml_says_where(self, home):
        write(home, "control_port = \n")

        with pytest.raises(InvalidRequest, match=r"not valid TOML.*line 1"):
            Settings.load()
