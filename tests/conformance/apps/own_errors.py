"""Catches its own kind of error, raised in a container."""

from functions import OutOfStock, app, order

with app.run():
    try:
        order.remote("apples", 12)
    except OutOfStock as error:
        print("caught:", error.args)
