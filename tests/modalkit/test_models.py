"""Models in memory: on demand, the least recently used leaves, newer weights take their place between two batches."""

import threading
import time

import pytest

from modalkit._models import RETRY_LOAD_AFTER, Models, Reloader
from modalkit.errors import InferenceError

MIB = 2**20


class Model:
    def __init__(self, name, generation=0, mebibytes=0):
        self.name, self.generation, self.is_unloaded, self.is_warm = name, generation, False, False
        self.weights = bytearray(b"\x01") * (mebibytes * MIB)  # written to, so that it counts as resident

    def warmup(self):
        self.is_warm = True

    def predict(self, items):
        assert not self.is_unloaded, "given work after it was unloaded"
        return items

    def unload(self):
        self.is_unloaded = True
        self.weights = None


class Loader:
    """Makes models, and remembers them."""

    def __init__(self, mebibytes=0):
        self.made, self.generation, self.mebibytes, self.error = [], 0, mebibytes, None

    def __call__(self, name):
        if self.error is not None:
            raise self.error
        self.made.append(Model(name, self.generation, self.mebibytes))
        return self.made[-1]

    @property
    def names(self):
        return [model.name for model in self.made]


class HandClock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


class TestOnDemand:
    def test_a_model_is_loaded_when_it_is_first_used_and_once(self):
        loader = Loader()
        models = Models(loader)
        assert models.names == ()
        for _ in range(2):
            with models.use("a") as loaded:
                assert loaded.pipeline.name == "a"
                assert loaded.pipeline.is_warm
        assert loader.names == ["a"]

    def test_each_load_is_told_with_its_seconds(self):
        models = Models(Loader())
        with models.use("a"):
            pass
        ((name, seconds),) = models.loads
        assert name == "a"
        assert seconds >= 0

    def test_two_who_ask_at_once_wait_for_one_load(self):
        begun, go_on = threading.Event(), threading.Event()
        made = []

        def load(name):
            begun.set()
            assert go_on.wait(60)
            made.append(Model(name))
            return made[-1]

        models = Models(load)
        used = []

        def use():
            with models.use("a") as loaded:
                used.append(loaded.pipeline)

        threads = [threading.Thread(target=use) for _ in range(2)]
        for thread in threads:
            thread.start()
        assert begun.wait(60)
        go_on.set()
        for thread in threads:
            thread.join(60)
        assert len(made) == 1
        assert used == made * 2

    def test_a_model_that_is_loaded_answers_while_another_is_loading(self):
        begun, go_on = threading.Event(), threading.Event()

        def load(name):
            if name == "slow":
                begun.set()
                assert go_on.wait(60)
            return Model(name)

        models = Models(load)
        with models.use("quick"):
            pass
        loading = threading.Thread(target=lambda: models.use("slow").__enter__())
        loading.start()
        assert begun.wait(60)
        answered = threading.Event()

        def use():
            with models.use("quick"):
                answered.set()

        user = threading.Thread(target=use)
        user.start()
        try:
            assert answered.wait(60)
        finally:
            go_on.set()
            user.join(60)
            loading.join(60)


class TestFailure:
    def test_the_reason_is_told_with_503(self):
        loader = Loader()
        loader.error = FileNotFoundError("iris.joblib")
        with pytest.raises(InferenceError) as raised, Models(loader).use("iris"):
            pass
        problem = raised.value.problem
        assert (problem.status, problem.kind) == (503, "model_not_ready")
        assert problem.detail == "Model 'iris' is not ready: FileNotFoundError: iris.joblib"

    def test_it_is_tried_again_but_not_at_every_request(self):
        loader, clock = Loader(), HandClock()
        models = Models(loader, clock=clock)
        loader.error = OSError("not yet")
        with pytest.raises(InferenceError, match="not yet"), models.use("a"):
            pass
        loader.error = None
        with pytest.raises(InferenceError, match="not yet"), models.use("a"):
            pass
        clock.now += RETRY_LOAD_AFTER
        with models.use("a") as loaded:
            assert loaded.pipeline.name == "a"

    def test_a_failing_warmup_is_a_failing_load(self):
        class Cold(Model):
            def warmup(self):
                msg = "no kernel"
                raise RuntimeError(msg)

        with pytest.raises(InferenceError, match="RuntimeError: no kernel"), Models(Cold).use("a"):
            pass

    def test_another_model_is_not_harmed(self):
        def load(name):
            if name == "bad":
                raise OSError(name)
            return Model(name)

        models = Models(load)
        with pytest.raises(InferenceError), models.use("bad"):
            pass
        with models.use("good") as loaded:
            assert loaded.pipeline.name == "good"


class TestBudget:
    def test_the_least_recently_used_leaves(self):
        loader = Loader(mebibytes=64)
        models = Models(loader, budget=160 * MIB)
        for name in ("a", "b", "a", "c"):
            with models.use(name):
                pass
        assert set(models.names) == {"a", "c"}
        assert [model.is_unloaded for model in loader.made] == [False, True, False]

    def test_a_model_that_left_comes_back(self):
        loader = Loader(mebibytes=64)
        models = Models(loader, budget=100 * MIB)
        for name in ("a", "b", "a"):
            with models.use(name):
                pass
        assert loader.names == ["a", "b", "a"]

    def test_one_model_above_the_budget_stays(self):
        models = Models(Loader(mebibytes=64), budget=1)
        with models.use("a"):
            pass
        assert models.names == ("a",)

    def test_no_budget_is_no_bound(self):
        models = Models(Loader(mebibytes=8))
        for name in "abcd":
            with models.use(name):
                pass
        assert models.names == ("a", "b", "c", "d")

    def test_one_that_is_in_use_is_unloaded_when_its_last_user_ends(self):
        loader = Loader(mebibytes=64)
        models = Models(loader, budget=100 * MIB)
        with models.use("a") as held:
            with models.use("b"):
                pass
            assert models.names == ("b",)
            assert not held.pipeline.is_unloaded
        assert held.pipeline.is_unloaded


class TestReload:
    def test_newer_weights_take_the_place_between_two_batches(self):
        loader = Loader()
        models = Models(loader)
        with models.use("a") as running:
            loader.generation = 1
            models.reload()
            assert running.pipeline.generation == 0
            assert not running.pipeline.is_unloaded
            with models.use("a") as later:
                assert later.pipeline.generation == 1
        assert running.pipeline.is_unloaded

    def test_no_request_sees_a_half_loaded_model(self):
        """While the newer one loads, the older one answers."""
        begun, go_on = threading.Event(), threading.Event()
        generation = 0

        def load(name):
            if generation:
                begun.set()
                assert go_on.wait(60)
            return Model(name, generation)

        models = Models(load)
        with models.use("a"):
            pass
        generation = 1
        reloading = threading.Thread(target=models.reload)
        reloading.start()
        assert begun.wait(60)
        for _ in range(3):
            with models.use("a") as loaded:
                assert loaded.pipeline.generation == 0
        go_on.set()
        reloading.join(60)
        with models.use("a") as loaded:
            assert loaded.pipeline.generation == 1

    def test_weights_that_cannot_be_loaded_change_nothing(self):
        loader = Loader()
        models = Models(loader)
        with models.use("a"):
            pass
        loader.error = ValueError("half a file")
        models.reload()
        with models.use("a") as loaded:
            assert not loaded.pipeline.is_unloaded

    def test_a_pipeline_that_reloads_by_itself_does_so_between_two_batches(self):
        class Own(Model):
            reloads = 0

            def on_volume_reload(self):
                self.reloads += 1

        models = Models(Own)
        with models.use("a") as loaded:
            with loaded.turn:  # a batch runs
                reloading = threading.Thread(target=models.reload)
                reloading.start()
                time.sleep(0.05)
                assert loaded.pipeline.reloads == 0
            reloading.join(60)
            assert loaded.pipeline.reloads == 1

    def test_one_that_fails_to_reload_does_not_keep_the_others_from_it(self):
        class Own(Model):
            def on_volume_reload(self):
                if self.name == "a":
                    raise OSError(self.name)
                self.generation = 1

        models = Models(Own)
        for name in "ab":
            with models.use(name):
                pass
        models.reload()
        with models.use("b") as loaded:
            assert loaded.pipeline.generation == 1

    def test_a_model_that_left_meanwhile_stays_out(self):
        models = Models(Loader())
        models.reload()
        assert models.names == ()

    def test_unloading_lets_go_of_all(self):
        loader = Loader()
        models = Models(loader)
        for name in "ab":
            with models.use(name):
                pass
        models.unload()
        assert models.names == ()
        assert all(model.is_unloaded for model in loader.made)

    def test_a_failing_unload_is_logged_and_no_more(self):
        class Stuck(Model):
            def unload(self):
                msg = "stuck"
                raise RuntimeError(msg)

        models = Models(Stuck)
        with models.use("a"):
            pass
        models.unload()
        assert models.names == ()


class TestReloader:
    @pytest.fixture
    def folder(self, tmp_path):
        folder = tmp_path / "weights"
        folder.mkdir()
        (folder / "w").write_text("0")
        return folder

    @pytest.fixture
    def reloaded(self):
        class Counted:
            count = 0

            def reload(self):
                self.count += 1

        return Counted()

    def reloader(self, reloaded, folder, refresh=lambda: None, interval=60.0):
        return Reloader(reloaded, str(folder), interval, refresh)

    def test_files_that_did_not_change_are_left_alone(self, reloaded, folder):
        looker = self.reloader(reloaded, folder)
        assert [looker.look() for _ in range(3)] == [False, False, False]

    def test_changed_files_are_loaded_when_they_lie_still(self, reloaded, folder):
        looker = self.reloader(reloaded, folder)
        (folder / "w").write_text("10")
        assert not looker.look()  # perhaps half written
        (folder / "w").write_text("100")
        assert not looker.look()
        assert looker.look()
        assert not looker.look()
        assert reloaded.count == 1

    def test_a_folder_that_is_empty_for_a_moment_is_not_loaded(self, reloaded, folder):
        looker = self.reloader(reloaded, folder)
        (folder / "w").unlink()
        assert [looker.look() for _ in range(3)] == [False, False, False]

    def test_volumes_are_brought_up_to_date_first(self, reloaded, folder):
        def refresh():
            if (folder / "w").read_text() == "0":
                (folder / "w").write_text("from the volume")

        looker = self.reloader(reloaded, folder, refresh)
        looker.look()
        assert looker.look()

    def test_a_look_that_fails_is_not_the_last(self, reloaded, folder):
        failed = threading.Event()

        def refresh():
            if not failed.is_set():
                failed.set()
                raise OSError(0, "no volume")
            if (folder / "w").read_text() == "0":
                (folder / "w").write_text("later")

        looker = self.reloader(reloaded, folder, refresh, interval=0.01)
        looker.start()
        until = time.monotonic() + 10
        while not reloaded.count and time.monotonic() < until:
            time.sleep(0.01)
        looker.stop()
        assert reloaded.count >= 1
