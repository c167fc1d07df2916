"""`make bench`: latency, throughput, starts and limits on this machine, as tables and in build/bench.json. About ten minutes, more the first time.

`make bench ONLY=http` measures one section, `ONLY=http,cold` two; build/bench.json keeps what the others gave before.
"""

import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence

import burst
import calls
import figures
import kit
import limits
import measuring
import model
import pages
import peers
import web
from cold import ColdStarts
from engine import CHECKOUT, Engine, running_engine
from figures import Figure, percentile

_DEPLOYS = 3
_GOAL = "goal"
_REPORT = CHECKOUT / "build" / "bench.json"
_TRAIN = CHECKOUT / "examples" / "iris" / "train.py"

Figures = dict[str, Figure]


class Bench:
    """The sections, in the order in which they run: what needs an engine that has done little comes first."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.cold = ColdStarts(engine)
        self.sections: Mapping[str, Callable[[], Figures]] = {
            "deploy": self.deploys,
            "cold": self.cold_starts,
            "burst": self.burst,
            "calls": self.warm_calls,
            "http": self.http,
            "iris": self.iris,
            "modalkit": self.modalkit,
            "pages": self.pages,
            "limits": self.limits,
            "metrics": self.measuring,
            "memory": self.memory,
        }

    def deploys(self) -> Figures:
        """The first deployment builds what is not there yet; only the later ones count."""
        idle = self.engine.resident_mb()
        self.engine.deploy("cold.py")
        seconds = statistics.median(self.engine.deploy("cold.py") for _ in range(_DEPLOYS))
        return {"idle_rss_mb": Figure(idle, "MB", 150, _GOAL), "deploy_cached_s": Figure(seconds, "s", 3, _GOAL)}

    def cold_starts(self) -> Figures:
        with self.deployed("trivial.py", "cold.py", "snapshot.py"):
            return self.cold.figures()

    def burst(self) -> Figures:
        with self.deployed("burst.py"):
            return burst.figures(self.engine)

    def warm_calls(self) -> Figures:
        with self.deployed("trivial.py"):
            milliseconds = calls.one_by_one()
            mapped = calls.mapped_per_second()
            before = self.engine.cpu_seconds()
            spawned = calls.spawned_per_second(calls.IN_FLIGHT)
            spent = self.engine.cpu_seconds() - before  # for their results too: nearly all are there
            spawned_one_by_one = calls.spawned_per_second(1)
        with self.deployed("spread.py"):
            together = calls.per_second_together()
        return {
            "remote_p50_ms": Figure(percentile(milliseconds, 0.5), "ms", 4.5, _GOAL),
            "remote_p99_ms": Figure(percentile(milliseconds, 0.99), "ms"),
            "map_inputs_per_s": Figure(mapped, "inputs/s", 700, _GOAL),
            "spawn_per_s": Figure(spawned, "calls/s", 500, _GOAL),
            "spawn_engine_cpu_ms": Figure(spent / calls.SPAWNED * 1000, "ms"),
            "spawn_sequential_per_s": Figure(spawned_one_by_one, "calls/s"),
            "calls_per_s_32": Figure(together, "calls/s", 400, _GOAL),
        }

    def http(self) -> Figures:
        with self.deployed("web.py"):
            return web.figures(self.engine)

    def iris(self) -> Figures:
        if not peers.installed():
            say(
                "LitServe, BentoML and Ray Serve are not installed: `make bench-peers` does that. Without them there is nothing beside the iris endpoint"
            )
            return {}
        with self.deployed("flower.py"):
            return peers.figures(self.engine)

    def modalkit(self) -> Figures:
        kit.prepare()
        measured = kit.in_process()
        with self.deployed("kit_flower/app.py"):
            measured |= kit.iris(self.engine)
        with self.deployed("kit_batched/app.py"):
            measured |= kit.batched(self.engine)
        kit.put_factor(2)
        with self.deployed("kit_disturbed/app.py"):
            return measured | kit.disturbed(self.engine)

    def pages(self) -> Figures:
        with self.deployed("trivial.py"):
            return pages.figures(self.engine)

    def limits(self) -> Figures:
        with self.deployed("web.py"):
            measured = limits.idle_connections(self.engine)
        with self.deployed("limits.py"):
            return {**measured, **limits.bodies(self.engine), **limits.redeploy(self.engine)}

    def measuring(self) -> Figures:
        with self.deployed("web.py", "trivial.py"):
            return measuring.figures(self.engine)

    def memory(self) -> Figures:
        return {"rss_after_load_mb": Figure(self.engine.resident_mb(), "MB")}

    def deployed(self, *scripts: str) -> "Deployed":
        return Deployed(self.engine, scripts)


class Deployed:
    """Apps that are there for the block; after it, nothing of them runs."""

    def __init__(self, engine: Engine, scripts: Sequence[str]) -> None:
        self._engine = engine
        self._scripts = scripts

    def __enter__(self) -> None:
        for script in self._scripts:
            self._engine.deploy(script)

    def __exit__(self, *error: object) -> None:
        self._engine.stop_apps()
        self._engine.settle()


def main() -> None:
    wanted = [name for name in sys.argv[1:] if name]
    subprocess.run([sys.executable, _TRAIN], check=True, stdout=subprocess.DEVNULL)
    model.train()
    limits.allow_many_files()
    measured: Figures = {}
    with running_engine() as engine:
        bench = Bench(engine)
        if unknown := set(wanted) - set(bench.sections):
            sys.exit(f"No section {', '.join(sorted(unknown))}. There are: {', '.join(bench.sections)}.")
        for name, section in bench.sections.items():
            if not wanted or name in wanted:
                say(f"Measuring: {name}")
                measured |= section()
    figures.show(measured)
    if bench.cold.phases:
        figures.show_phases(bench.cold.phases)
    figures.write(measured, _REPORT, is_whole=not wanted)


def say(text: str) -> None:
    print(f"{text} …", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
