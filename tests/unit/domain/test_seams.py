from importlib import import_module

import pytest

from freehold.domain.seams import Seam, Transport, WebPath, has_proved_runtime, may_snapshot, seams_for


def test_only_versions_that_were_proved_get_ours():
    assert seams_for("1.6.4", Transport.AUTO) == (
        Seam.PHASES,
        Seam.INPUTS,
        Seam.CALLS,
        Seam.PATIENCE,
        Seam.STDIO,
        Seam.TRACES,
        Seam.WEB,
        Seam.OLD_NAMES,
    )
    assert seams_for("1.6.5", Transport.AUTO) == ()
    assert seams_for("", Transport.AUTO) == ()


def test_the_oldest_get_their_arguments_where_they_look_and_nothing_else():
    seams = seams_for("0.64.235", Transport.AUTO)
    assert seams == (Seam.COMMANDLINE,)
    assert not has_proved_runtime(seams)
    assert has_proved_runtime(seams_for("1.6.4", Transport.STOCK))
    assert not has_proved_runtime(())


def test_the_owner_may_wish_for_the_stock_way():
    assert seams_for("1.6.4", Transport.STOCK) == (Seam.PHASES, Seam.PATIENCE, Seam.STDIO, Seam.OLD_NAMES)


def test_web_requests_may_be_wished_to_be_inputs():
    assert Seam.WEB not in seams_for("1.6.4", Transport.AUTO, WebPath.DATA_CHANNEL)


def test_a_server_has_its_one_way_whatever_is_wished():
    assert Seam.WEB in seams_for("1.6.4", Transport.STOCK, WebPath.DATA_CHANNEL, is_server=True)
    assert seams_for("1.6.5", Transport.AUTO, is_server=True) == ()


@pytest.mark.parametrize("seam", Seam)
def test_each_seam_has_its_module(seam):
    assert callable(import_module(f"freehold.container.{seam}").install)


def test_only_proved_clients_are_snapshotted():
    assert may_snapshot("1.6.4")
    assert not may_snapshot("1.6.5")
