"""Functions that are called by themselves."""

import time

import modal

EDITION = "first"
BEAT = modal.Period(seconds=1)

app = modal.App("schedules")


@app.function(schedule=BEAT, min_containers=1, max_containers=1)
def tick() -> float:
    print(f"tick of the {EDITION} edition")
    return time.time()


@app.function(schedule=modal.Cron("* * * * *", timezone="Asia/Kathmandu"))
def minutely() -> None:
    pass


@app.function(schedule=modal.Cron("0 9 * * 1-5", timezone="America/New_York"))
def weekdays() -> str:
    return "good morning"


@app.function(schedule=modal.Period(days=1, hours=2))
def failing() -> None:
    message = "the larder is empty"
    raise ValueError(message)


@app.function()
def plain() -> str:
    return "called by people only"
