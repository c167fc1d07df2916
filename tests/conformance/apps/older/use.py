"""What a user's script does with the deployed app, by a client of any version. Prints what came of each thing, as JSON."""

import json
import sys
import traceback

import modal

APP = sys.argv[1]
IS_OLD = modal.__version__.startswith("0.")


def function(name):
    return modal.Function.lookup(APP, name) if IS_OLD else modal.Function.from_name(APP, name)


def counter(start):
    cls = modal.Cls.lookup(APP, "Counter") if IS_OLD else modal.Cls.from_name(APP, "Counter")
    return cls(start=start)


def counted():
    five = counter(5)
    return [five.add.remote(1), five.add.remote(2), counter(0).add.remote(7)]


def failure():
    try:
        function("double").remote()
    except TypeError as error:
        return str(error)
    return "none"


USES = {
    "remote": lambda: function("double").remote(4),
    "failure": failure,
    "map": lambda: list(function("double").map(range(60))),
    "spawn": lambda: function("double").spawn(6).get(timeout=60),
    "large": lambda: len(function("double").remote(b"x" * 3_000_000)),
    "generator": lambda: list(function("count").remote_gen(3)),
    "serialized": lambda: function("shout").remote("ahoy"),
    "environment": lambda: function("environment").remote(),
    "class": counted,
}


def result_of(use):
    try:
        return {"result": use()}
    except Exception:  # noqa: BLE001 — whatever it is, the test shows it
        return {"error": traceback.format_exc()}


print(json.dumps({name: result_of(use) for name, use in USES.items() if name in sys.argv[2:] or not sys.argv[2:]}))
