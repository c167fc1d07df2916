"""`make bench`: latency and throughput on this machine, as tables and in build/bench.json. A few minutes, more the first time."""

import statistics
import subprocess
import sys

import calls
import cold
import figures
import web
from engine import CHECKOUT, Engine, running_engine
from figures import Figure, percentile
from http_load import load

_DEPLOYS = 3
_GOAL = "goal"
_TRAIN = CHECKOUT / "examples" / "iris" / "train.py"


def main() -> None:
    subprocess.run([sys.executable, _TRAIN], check=True, stdout=subprocess.DEVNULL)
    measured: dict[str, Figure] = {}
    with running_engine() as engine:
        idle = engine.resident_mb()
        measured |= deploys(engine)
        phases = {"trivial function": cold.trivial(engine), "iris endpoint": cold.iris(engine)}
        measured["cold_start_trivial_ms"] = Figure(phases["trivial function"]["all"], "ms", 1000, _GOAL)
        measured["cold_start_iris_ms"] = Figure(phases["iris endpoint"]["all"], "ms", 1000, _GOAL)
        measured |= warm_calls(engine)
        engine.stop_apps("bench-spread")
        measured |= http(engine)
        measured["idle_rss_mb"] = Figure(idle, "MB", 150, _GOAL)
        engine.stop_apps()
        engine.settle()
        measured["rss_after_load_mb"] = Figure(engine.resident_mb(), "MB")
    figures.show(measured)
    figures.show_phases(phases)
    figures.write(measured, CHECKOUT / "build" / "bench.json")


def deploys(engine: Engine) -> dict[str, Figure]:
    """The first deployments build what is not there yet; only the later ones count."""
    say("Deploying (images are built the first time)")
    for script in ("trivial.py", "web.py", "iris.py"):
        engine.deploy(script)
    return {"deploy_cached_s": Figure(statistics.median(engine.deploy("iris.py") for _ in range(_DEPLOYS)), "s", 3, _GOAL)}


def warm_calls(engine: Engine) -> dict[str, Figure]:
    say("Calling")
    milliseconds = calls.one_by_one()
    mapped = calls.mapped_per_second()
    spawned, spawned_one_by_one = calls.spawned_per_second(calls.IN_FLIGHT), calls.spawned_per_second(1)
    engine.deploy("spread.py")
    return {
        "remote_p50_ms": Figure(percentile(milliseconds, 0.5), "ms", 4.5, _GOAL),
        "remote_p99_ms": Figure(percentile(milliseconds, 0.99), "ms"),
        "map_inputs_per_s": Figure(mapped, "inputs/s", 700, _GOAL),
        "spawn_per_s": Figure(spawned, "calls/s", 500, _GOAL),
        "spawn_sequential_per_s": Figure(spawned_one_by_one, "calls/s"),
        "calls_per_s_32": Figure(calls.per_second_together(), "calls/s", 400, _GOAL),
    }


def http(engine: Engine) -> dict[str, Figure]:
    say("Loading the gateway, and a bare uvicorn beside it")
    one, many = (web.through_the_gateway(engine, connections) for connections in (1, 32))
    with web.bare_uvicorn() as address:
        bare_one, bare_many = (load(address, "localhost", connections) for connections in (1, 32))
    return {
        "http_1_p50_ms": Figure(percentile(one.milliseconds, 0.5), "ms", percentile(bare_one.milliseconds, 0.5), "bare uvicorn"),
        "http_32_per_s": Figure(many.per_second, "requests/s", bare_many.per_second, "bare uvicorn"),
        "http_32_ratio_to_uvicorn": Figure(many.per_second / bare_many.per_second, "ratio", 1, "bare uvicorn"),
    }


def say(text: str) -> None:
    print(f"{text} …", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
