from freehold.worker.reconcile import Phase, reconcile


def test_a_desired_task_that_is_not_known_is_started():
    assert reconcile(["ta-1", "ta-2"], {"ta-1": Phase.ALIVE}) == (["ta-2"], [])


def test_a_running_task_that_nobody_desires_is_stopped():
    assert reconcile([], {"ta-1": Phase.ALIVE}) == ([], ["ta-1"])


def test_a_task_is_asked_to_stop_once():
    assert reconcile([], {"ta-1": Phase.STOPPING}) == ([], [])


def test_a_task_that_has_ended_does_not_run_again():
    assert reconcile(["ta-1"], {"ta-1": Phase.ENDED}) == ([], [])


def test_a_task_that_is_desired_again_while_it_stops_is_left_to_stop():
    """A task runs once; who wants another asks for a new id."""
    assert reconcile(["ta-1"], {"ta-1": Phase.STOPPING}) == ([], [])


def test_the_same_wish_twice_changes_nothing():
    desired = ["ta-1", "ta-2"]
    actual = dict.fromkeys(reconcile(desired, {})[0], Phase.ALIVE)

    assert reconcile(desired, actual) == ([], [])
