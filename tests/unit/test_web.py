"""Labels and URLs of web functions."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from freehold.domain.domains import checked_domain, of_host
from freehold.domain.errors import InvalidRequest
from freehold.domain.web import Origin, label_of_host, label_of_path, path_url, web_label, web_url

NAME = re.compile(r"^[\w.-]*[a-zA-Z0-9][\w.-]*$")  # of an app, a function, a class and its method
LONG = "a-rather-long-name-for-an-application-of-the-house"


def text(**parts: str) -> str:
    return web_label(**{"workspace": "local", "app": "iris", "function": "predict"} | parts).text


class TestLabel:
    def test_names_workspace_app_and_function(self):
        assert text() == "local--iris-predict"

    def test_names_the_environment_unless_it_is_the_default_one(self):
        assert text(environment_suffix="staging") == "local-staging--iris-predict"

    def test_a_method_is_named_with_its_class(self):
        assert text(function="Model.predict") == "local--iris-model-predict"

    def test_what_a_host_name_cannot_hold_becomes_a_dash(self):
        assert text(app="My_App", function="été") == "local--my-app--t"

    def test_a_label_of_the_users_own_stands_for_app_and_function(self):
        assert text(label="flowers") == "local--flowers"

    @pytest.mark.parametrize(("label", "expected"), [("", "local--iris-predict-dev"), ("flowers", "local--flowers-dev")])
    def test_an_ephemeral_app_leaves_the_address_of_the_deployed_one_alone(self, label, expected):
        assert text(label=label, dev_suffix="dev") == expected

    def test_a_long_label_is_cut_and_stays_unique(self):
        one, other = (web_label(workspace="local", app=LONG, function=name) for name in ("predict_one", "predict_other"))

        assert one.is_truncated
        assert len(one.text) <= 63
        assert one.text != other.text
        assert one.text[:50] == other.text[:50]

    @given(app=st.from_regex(NAME), function=st.from_regex(NAME), suffix=st.sampled_from(["", "staging"]))
    def test_any_names_make_a_valid_host_label_that_the_path_form_finds(self, app, function, suffix):
        label = text(app=app, function=function, environment_suffix=suffix)

        assert re.fullmatch(r"[a-z0-9][a-z0-9-]{0,61}[a-z0-9]", label)
        assert label_of_path(f"/{label}/x") == label


class TestUrls:
    def test_by_host_and_by_path(self):
        assert web_url("local--iris-predict", "localhost", Origin(8980)) == "http://local--iris-predict.localhost:8980"
        assert path_url("local--iris-predict", "127.0.0.1", 8980) == "http://127.0.0.1:8980/local--iris-predict/"


@pytest.mark.parametrize(
    ("host", "label"),
    [
        ("local--iris.localhost:8980", "local--iris"),
        ("Local--Iris.LOCALHOST", "local--iris"),
        ("local--iris.localhost.", "local--iris"),
        ("localhost:8980", None),
        ("127.0.0.1:8980", None),
        ("[::1]:8980", None),
        ("[::1]", None),
        ("local--iris.example.org", None),
        ("", None),
    ],
)
def test_the_host_header_names_the_function(host, label):
    assert label_of_host(host, "localhost") == label


@pytest.mark.parametrize(
    ("path", "label"),
    [
        ("/local--iris/predict", "local--iris"),
        ("/local--iris", "local--iris"),
        ("/Local--Iris/", "local--iris"),
        ("/healthz", None),
        ("/_freehold/blobs/a--b", None),
        ("/", None),
        ("/l\u00f6cal--iris/", None),
    ],
)
def test_a_first_segment_with_two_dashes_names_the_function(path, label):
    assert label_of_path(path) == label


class TestOrigin:
    def test_the_usual_port_of_a_scheme_is_left_out(self):
        assert Origin(443, is_secure=True).url("a.example.com") == "https://a.example.com"
        assert Origin(80).url("a.example.com") == "http://a.example.com"
        assert Origin(443).url("a.example.com") == "http://a.example.com:443"
        assert Origin(8980, is_secure=True).url("a.example.com") == "https://a.example.com:8980"


class TestCustomDomains:
    @pytest.mark.parametrize("name", ["api.example.com", "a.b", "*.example.com", "xn--bcher-kva.example", "x1.2y.org"])
    def test_a_host_name_can_be_one(self, name):
        assert checked_domain(name.upper() + ".", "localhost") == name

    @pytest.mark.parametrize(
        "name",
        [
            "",
            "example",
            "https://example.com",
            "example.com:443",
            "example.com/x",
            "10.0.0.1",
            "[::1]",
            "*",
            "*.com.*",
            "a..b",
            "-a.com",
            "a_b.com",
        ],
    )
    def test_what_is_no_host_name_is_refused(self, name):
        with pytest.raises(InvalidRequest, match="custom domain"):
            checked_domain(name, "localhost")

    @pytest.mark.parametrize("name", ["a" * 64 + ".com", ".".join(["a" * 60] * 5), "bücher.example", "a.example.com..", "a.com\n"])
    def test_what_no_resolver_would_take_is_refused(self, name):
        with pytest.raises(InvalidRequest, match="custom domain"):
            checked_domain(name, "localhost")

    @pytest.mark.parametrize("name", ["mine.apps.example.com", "*.apps.example.com", "apps.example.com", "a.b.apps.example.com"])
    def test_names_below_the_engines_own_domain_are_its_own_to_give(self, name):
        with pytest.raises(InvalidRequest, match="label="):
            checked_domain(name, "apps.example.com")

    def test_a_host_is_found_whatever_its_case_port_and_dot(self):
        owners = {"api.example.com": "exact", "*.example.com": "any"}
        assert of_host(owners, "API.example.com.:8980") == "exact"
        assert of_host(owners, "api.example.com") == "exact"
        assert of_host(owners, "other.example.com:1") == "any"
        assert of_host(owners, "a.b.example.com") is None
        assert of_host(owners, "example.com") is None
        assert of_host(owners, "[::1]:8980") is None
        assert of_host(owners, "") is None
