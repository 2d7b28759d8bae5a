import csv
import json
import os
import signal
import sys

import keras
import numpy as np
import pytest

from multiposenet import training
from multiposenet.config import load_config
from multiposenet.data.batches import Batches, Source
from multiposenet.errors import UserError


class Line(Source):
    """y = x @ weights; can send a signal or spoil a value when one sample comes up."""

    def __init__(self, spoil=None, signal_after=None):
        rng = np.random.default_rng(0)
        self.x = rng.normal(size=(32, 4)).astype("float32")
        self.y = self.x @ np.array([[1.0], [-2], [3], [0.5]], "float32")
        self.loads, self.signal_after = 0, signal_after
        if spoil is not None:
            self.y[spoil] = np.nan

    def __len__(self):
        return len(self.x)

    def names(self, indices):
        return [f"sample{i}.jpg" for i in indices]

    def load(self, indices, rng):
        self.loads += 1
        if self.loads == self.signal_after:
            os.kill(os.getpid(), signal.SIGINT)
        return self.x[indices] + rng.normal(0, 0.01, (len(indices), 4)).astype("float32"), self.y[indices]


def settings(*overrides):
    return load_config(None, ["train.batch_size=8", "train.epochs=4", "train.learning_rate=0.01", "train.workers=0",
                              "train.schedule=cosine", *overrides])


def compiled(config, source):
    training.prepare(config)
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(8, "relu"), keras.layers.Dropout(0.3),
                              keras.layers.Dense(1)])
    training.compile_model(model, "mse", config, training.steps_per_epoch(source, config))
    return model


def run(config, folder, source=None, resume=False):
    source = source or Line()
    model = compiled(config, source)
    best = training.fit(model, source, Line(), config, folder, resume)
    return model, best


def losses(folder):
    with open(folder / "log.csv") as file:
        return [float(row["loss"]) for row in csv.DictReader(file)]


@pytest.mark.parametrize("overrides", [["train.ema=0.9"], ["train.schedule=plateau", "train.patience=1"],
                                       ["train.accumulate=3"]])
def test_interrupted_run_resumes_to_the_same_losses(tmp_path, overrides):
    config = settings(*overrides)
    model, best = run(config, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt, match="--resume"):
        run(config, tmp_path / "broken", Line(signal_after=9 if os.environ.get("KERAS_BACKEND") == "jax" else 8))
    assert len(losses(tmp_path / "broken")) < 4
    resumed, best_resumed = run(config, tmp_path / "broken", resume=True)
    np.testing.assert_allclose(losses(tmp_path / "broken")[-2:], losses(tmp_path / "whole")[-2:], rtol=1e-5)
    for a, b in zip(model.get_weights(), resumed.get_weights()):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)
    assert best_resumed["epoch"] == best["epoch"]


def test_run_killed_between_epochs_resumes_to_the_same_losses(tmp_path):
    """After a SIGKILL the last epoch's checkpoint is all there is."""
    config = settings("train.schedule=constant", "train.epochs=2")
    run(config, tmp_path / "run")
    longer = settings("train.schedule=constant")
    run(longer, tmp_path / "run", resume=True)
    run(longer, tmp_path / "whole")
    np.testing.assert_allclose(losses(tmp_path / "run"), losses(tmp_path / "whole"), rtol=1e-5)


def test_run_folder_is_complete(tmp_path):
    config = settings()
    _, best = run(config, tmp_path)
    assert load_config(tmp_path / "config.yaml") == config
    assert json.loads((tmp_path / "state.json").read_text())["best"] == best
    assert {"last.weights.h5", "best.weights.h5", "log.csv"} <= {file.name for file in tmp_path.iterdir()}
    assert not list(tmp_path.glob("writing*"))
    assert best["val_loss"] == min(float(row["val_loss"]) for row in csv.DictReader(open(tmp_path / "log.csv")))


def test_best_weights_are_the_average(tmp_path):
    config = settings("train.ema=0.5", "train.epochs=1")
    source = Line()
    model = compiled(config, source)
    training.fit(model, source, Line(), config, tmp_path)
    last = compiled(config, source)
    last.optimizer.build(last.trainable_variables)
    last.load_weights(tmp_path / training.LAST)
    assert not np.allclose(model.get_weights()[0], last.get_weights()[0])
    with training.averaged(last):
        np.testing.assert_allclose(model.get_weights()[0], last.get_weights()[0], rtol=1e-5)


def test_young_average_forgets_where_the_weights_began():
    variable = keras.Variable([5.0])
    optimizer = training.Adam(0.1, use_ema=True, ema_momentum=0.99)
    expected = 5.0
    for step in range(60):
        optimizer.apply([variable * 2], [variable])
        momentum = min(0.99, (1 + step) / (10 + step)) if step else 0
        expected = momentum * expected + (1 - momentum) * float(variable.numpy()[0])
    latest = float(variable.numpy()[0])
    optimizer.use_average([variable])
    average = float(variable.numpy()[0])
    assert average == pytest.approx(expected, rel=1e-4) and abs(average - latest) < 0.1 * (5 - latest)


def test_slow_variables_move_at_their_share_of_the_rate():
    """Adam's first step is the learning rate itself, whatever the gradient."""
    fast, slow = (keras.Variable([1.0, 2.0]) for _ in range(2))
    optimizer = training.Adam(0.01, slow=[slow], slow_rate=0.1)
    optimizer.apply([keras.ops.ones(2), keras.ops.ones(2) * 3], [fast, slow])
    np.testing.assert_allclose(keras.ops.convert_to_numpy(fast), [0.99, 1.99], rtol=1e-5)
    np.testing.assert_allclose(keras.ops.convert_to_numpy(slow), [0.999, 1.999], rtol=1e-5)


def test_accumulated_steps_are_one_step_of_a_larger_batch(tmp_path):
    """Without dropout or noise, so that the samples alone decide."""
    class Exact(Line):
        def load(self, indices, rng):
            return self.x[indices], self.y[indices]

    def trained(*overrides):
        config = settings("train.schedule=constant", "train.epochs=1", *overrides)
        training.prepare(config)
        model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
        training.compile_model(model, "mse", config, 8)
        training.fit(model, Exact(), None, config, tmp_path / overrides[0])
        return model.get_weights()

    for a, b in zip(trained("train.batch_size=4", "train.accumulate=2"), trained("train.batch_size=8")):
        np.testing.assert_allclose(a, b, rtol=1e-5)


def test_a_run_without_better_epochs_ends(tmp_path, capsys):
    run(settings("train.epochs=9", "train.learning_rate=0", "train.schedule=constant", "train.stop_after=2"), tmp_path)
    assert len(losses(tmp_path)) == 3 and "no better epoch in 2" in capsys.readouterr().out


def test_the_last_epoch_can_be_the_result(tmp_path):
    rising = settings("train.learning_rate=2", "train.schedule=constant")  # the first epoch is the best, see below
    assert run(rising, tmp_path / "best")[1]["epoch"] < 4
    model, kept = run(settings("train.learning_rate=2", "train.schedule=constant", "train.keep=last"), tmp_path / "last")
    assert kept["epoch"] == 4 and float(kept["loss"]) == pytest.approx(losses(tmp_path / "last")[3])


def test_a_trial_ends_early_and_says_how_long_all_would_take(tmp_path, capsys):
    model, _ = run(settings("train.max_steps=6"), tmp_path)
    out = capsys.readouterr().out
    assert training._step(model) == 6 and len(losses(tmp_path)) == 2
    assert "4 epochs of 4 steps of 8 samples; learning rate cosine" in out and "so all 16 take" in out


def test_a_stopped_run_can_be_finished_as_it_is(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        run(settings(), tmp_path / "run", Line(signal_after=11))
    kept = losses(tmp_path / "run")
    model, best = run(settings("train.max_steps=1"), tmp_path / "run", resume=True)
    assert losses(tmp_path / "run") == kept and best["epoch"] <= len(kept)
    with pytest.raises(KeyboardInterrupt):
        run(settings(), tmp_path / "young", Line(signal_after=2))
    with pytest.raises(UserError, match="no epoch was finished"):
        run(settings("train.max_steps=1"), tmp_path / "young", resume=True)


def test_figures_go_to_wandb_for_who_has_it(tmp_path, monkeypatch):
    """With a stand-in: the real one wants an account."""
    (tmp_path / "wandb.py").write_text("""
calls = []
class Run:
    def log(self, figures, step): calls.append((step, sorted(figures)))
    def finish(self): calls.append("finished")
def init(**settings):
    calls.append(settings)
    return Run()
""")
    monkeypatch.syspath_prepend(tmp_path)
    run(settings("train.epochs=2"), tmp_path / "quiet")
    monkeypatch.setenv("WANDB_PROJECT", "poses")
    run(settings("train.epochs=2"), tmp_path / "told")
    import wandb

    started, first, second, end = wandb.calls
    assert started["name"] == "told" and started["resume"] == "allow" and started["config"]["train"]["epochs"] == 2
    assert (first[0], second[0], end) == (0, 1, "finished") and {"loss", "val_loss"} <= set(first[1])
    monkeypatch.delitem(sys.modules, "wandb")


@pytest.mark.parametrize("where", ["any", "last"])
def test_loss_that_is_not_finite_names_the_batch_and_is_not_saved(tmp_path, where):
    config, source = settings("train.epochs=1"), Line()
    batches = Batches(source, config.train.batch_size, config.train.seed)
    spoilt = int(batches.indices(batches.steps_per_epoch - 1)[0]) if where == "last" else 5
    with pytest.raises(UserError, match=f"sample{spoilt}.jpg"):
        run(config, tmp_path, Line(spoil=spoilt))
    assert not list(tmp_path.glob("*.weights.h5"))


def test_a_run_is_not_overwritten_nor_mixed(tmp_path):
    run(settings("train.epochs=1"), tmp_path)
    with pytest.raises(UserError, match="--resume"):
        run(settings("train.epochs=1"), tmp_path)
    with pytest.raises(UserError, match="differs.*train"):
        run(settings("train.epochs=1", "train.learning_rate=1"), tmp_path, resume=True)
    with pytest.raises(UserError, match="no last.weights.h5"):
        run(settings(), tmp_path / "empty", resume=True)


def test_schedules():
    def rate(step, **options):
        config = settings(*(f"train.{key}={value}" for key, value in options.items()))
        schedule = training.learning_rate(config.train, 10)
        return schedule if isinstance(schedule, float) else float(schedule(step))

    cosine = dict(schedule="cosine", learning_rate=1.0, warmup_steps=4)
    assert rate(0, **cosine) == pytest.approx(0.01)
    assert rate(4, **cosine) == pytest.approx(1)
    assert rate(22, **cosine) == pytest.approx(0.5)
    assert rate(40, **cosine) == pytest.approx(0, abs=1e-6)
    article = dict(schedule="step", learning_rate=4e-5, decay_rate=0.333, decay_epochs=2)
    assert [rate(step, **article) for step in (0, 19, 20, 40)] == pytest.approx([4e-5, 4e-5, 1.332e-5, 4.43556e-6])
    assert rate(99, schedule="constant", learning_rate=0.1) == 0.1
