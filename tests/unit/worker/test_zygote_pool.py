"""Which zygotes there are, and what they import."""

from types import SimpleNamespace

import pytest
from fakes.worker import StillClock, a_task

from freehold.domain.seams import Zygotes
from freehold.worker.zygotes.pool import Machine, ZygotePool
from freehold.worker.zygotes.zygote import Stock

STOCK = Stock.of(a_task(app_id="ap-1", image_id="im-1"))


class SeenModules:
    async def of(self, image_id, app_id):
        return ["quiet", "threaded.inner", "threaded"]


@pytest.fixture
def pool():
    machine = Machine(runtime=None, snapshots=None, bundles=None, modules=SeenModules())
    return ZygotePool(machine, mode=Zygotes.AUTO, budget_mib=64, clock=StillClock())


@pytest.mark.parametrize("is_another_loading", [False, True])
async def test_what_must_not_be_imported_is_left_out_of_the_next_also_if_that_loads_already(pool, is_another_loading):
    """Between the end of one and the note of what spoiled it, a start may have wanted another: else that would go on for ever."""
    if is_another_loading:
        pool._loading[STOCK.key] = SimpleNamespace()

    pool._leave_out(SimpleNamespace(stock=STOCK), {"threaded"})

    assert await pool._modules(STOCK) == ("quiet",)
