"""What the pages are looked at with: a bit of everything, and output that would be markup if it were taken for that."""

import os
import time
from pathlib import Path

import modal

EVIL = "<img src=x onerror=\"window.owned='log'\"><script>window.owned='log'</script>"

app = modal.App("shop")
image = modal.Image.debian_slim().pip_install("fastapi")
volume = modal.Volume.from_name("shop-data", create_if_missing=True)


@app.function(volumes={"/data": volume}, secrets=[modal.Secret.from_dict({"SHOP_KEY": "never shown"})])
def price(item: str, count: int = 1) -> int:
    print(f"pricing {count} × {item}")
    print(EVIL)
    lists = Path("/data/lists")
    lists.mkdir(exist_ok=True)
    (lists / "prices & more.txt").write_text("apple")
    return len(item) * count * VERSION


@app.function()
def order(item: str) -> str:
    print(f"\x1b[31mchecking\x1b[0m the stock of {item}")
    message = f"no {item} in stock <script>window.owned='traceback'</script>"
    raise ValueError(message)


@app.function()
def ticks(count: int) -> None:
    for number in range(count):
        print(f"tick {number}", flush=True)
        time.sleep(0.2)


@app.function()
def burn(seconds: float) -> None:
    until = time.process_time() + seconds
    while time.process_time() < until:
        pass


@app.function(schedule=modal.Period(days=30))
def report() -> str:
    print("the monthly report")
    return "sent"


@app.cls()
class Counter:
    start: int = modal.parameter(default=1)

    @modal.method()
    def after(self, steps: int) -> int:
        return self.start + steps


VERSION = int(os.environ.get("SHOP_VERSION", "1"))


@app.function(image=image, timeout=120 + VERSION)
@modal.asgi_app()
def api():
    from fastapi import FastAPI
    from pydantic import BaseModel

    web = FastAPI()

    class Basket(BaseModel):
        item: str = "apple"
        count: int = 2

    @web.post("/price")
    def price_of(basket: Basket):
        print(f"asked for {basket.count} of {basket.item}")
        return {"total": len(basket.item) * basket.count}

    @web.get("/items/{name}")
    def item(name: str, loud: bool = False):
        return {"name": name.upper() if loud else name}

    @web.get("/broken")
    def broken():
        message = "the till is broken"
        raise RuntimeError(message)

    return web
