"""Functions of their own app object, included by the main one."""

import modal

from shop.prices import PRICES

stock_app = modal.App()


@stock_app.function()
def fruits() -> list[str]:
    return sorted(PRICES)
