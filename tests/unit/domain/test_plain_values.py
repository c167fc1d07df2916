"""What a body means as arguments, what a result is in JSON, and what an exception says."""

from datetime import UTC, date, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from freehold.domain.errors import InvalidRequest
from freehold.domain.json_calls import Arguments, NotJson, arguments_of, plain, raised_of

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


class TestArguments:
    @pytest.mark.parametrize(
        ("body", "expected"),
        [
            ({}, Arguments()),
            ([], Arguments()),
            ([1, 2], Arguments(args=(1, 2))),
            ({"x": 1}, Arguments(kwargs={"x": 1})),
            ({"args": [1]}, Arguments(args=(1,))),
            ({"args": [1], "kwargs": {"y": 2}}, Arguments(args=(1,), kwargs={"y": 2})),
            ({"parameters": {"a": 1}, "kwargs": {}}, Arguments(parameters={"a": 1})),
            ({"args": [1], "x": 2}, Arguments(kwargs={"args": [1], "x": 2})),
        ],
    )
    def test_their_shape_says_what_they_are(self, body, expected):
        assert arguments_of(body) == expected

    @pytest.mark.parametrize("body", [None, 3, "text", True, {"args": {}}, {"kwargs": []}, {"args": [], "parameters": 1}])
    def test_other_shapes_are_refused(self, body):
        with pytest.raises(InvalidRequest):
            arguments_of(body)


class TestPlain:
    @given(JSON)
    def test_what_is_json_stays_as_it_is(self, value):
        assert plain(value, most=10_000) == value

    def test_times_are_text(self):
        assert plain([datetime(2026, 1, 2, 3, tzinfo=UTC), date(2026, 1, 2)], most=9) == ["2026-01-02T03:00:00+00:00", "2026-01-02"]

    def test_whole_numbers_as_keys_become_text(self):
        assert plain({1: "a", -2: "b"}, most=9) == {"1": "a", "-2": "b"}

    @pytest.mark.parametrize(
        ("value", "words"),
        [
            ({"a": [1, {"b": b"x"}]}, r"\$\.a\[1\]\.b.*base64"),
            ([float("nan")], r"\$\[0\]"),
            (float("-inf"), r"-inf"),
            ([{1, 2}], "set"),
            ({(1, 2): 3}, "key"),
            ({True: 3}, "key"),
        ],
    )
    def test_what_json_has_not_is_named_with_its_place(self, value, words):
        with pytest.raises(NotJson, match=words):
            plain(value, most=100)

    def test_what_holds_itself_has_no_end(self):
        loop: list = []
        loop.append(loop)
        with pytest.raises(NotJson, match="nested"):
            plain(loop, most=10**9)

    def test_a_few_values_that_mean_billions_are_refused(self):
        bomb: list = []
        for _ in range(40):
            bomb = [bomb, bomb]
        with pytest.raises(NotJson, match="parts of itself"):
            plain(bomb, most=1000)


class TestRaised:
    def test_type_message_and_traceback_are_told_apart(self):
        raised = raised_of("ValueError('a\\nb')", "Traceback (most recent call last):\n  in f\nValueError: a\nb\n")
        assert (raised["type"], raised["message"]) == ("ValueError", "a\nb")

    def test_a_type_of_the_users_own_is_found_with_its_module(self):
        raised = raised_of("OutOfStock('pears', 1)", "Traceback …\n  x\nshop.errors.OutOfStock: ('pears', 1)\n")
        assert (raised["type"], raised["message"]) == ("OutOfStock", "('pears', 1)")

    def test_the_last_exception_of_a_chain_counts(self):
        text = "Traceback\nValueError: first\n\nDuring handling, another:\n\nTraceback\nValueError: second\n"
        assert raised_of("ValueError('second')", text)["message"] == "second"

    def test_an_exception_without_a_message_has_none(self):
        assert raised_of("KeyboardTrouble()", "Traceback\nKeyboardTrouble\n")["message"] == ""

    def test_a_repr_of_the_users_own_is_the_message(self):
        assert raised_of("<odd>", "Traceback\napp.Odd: …") == {
            "type": "Exception",
            "message": "<odd>",
            "traceback": "Traceback\napp.Odd: …",
        }
