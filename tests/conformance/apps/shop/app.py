"""The app itself, beside functions that live in another module."""

import modal

from shop.prices import PRICES
from shop.stock import stock_app

app = modal.App("shop").include(stock_app)


@app.function()
def price(fruit: str) -> int:
    return PRICES[fruit]
