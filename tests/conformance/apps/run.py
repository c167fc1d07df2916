"""Things to `modal run`."""

import sys
import time

import modal

app = modal.App("run")


@app.function()
def cube(x: int) -> str:
    print(f"cubing {x}")
    print("this goes to stderr", file=sys.stderr)
    return str(x**3)


@app.function()
def talk_much(lines: int = 3000) -> None:
    for number in range(lines):
        print(f"line {number} of many")


@app.function()
def fail() -> None:
    message = "wrong on purpose"
    raise ValueError(message)


@app.function()
def sleep(seconds: int) -> None:
    print("asleep")
    time.sleep(seconds)


@app.cls()
class Greeter:
    greeting: str = modal.parameter(default="Hello")

    @modal.method()
    def greet(self, name: str) -> None:
        print(f"{self.greeting}, {name}!")


@app.local_entrypoint()
def main(x: int = 2) -> None:
    print(f"here on the ground, x is {x}")
    print(f"the cube is {cube.remote(x)}")
