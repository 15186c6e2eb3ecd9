"""The callback in real Keras, on its torch backend."""

from __future__ import annotations

import os

import numpy as np
import pytest

os.environ.setdefault("KERAS_BACKEND", "torch")
keras = pytest.importorskip("keras", reason="keras is not installed")

from autotune.integrations.keras import Callback  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


def fit(callback, **more):
    keras.utils.set_random_seed(0)
    inputs = np.random.default_rng(0).normal(size=(32, 4))
    labels = (inputs.sum(1) > 0).astype(int)
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2, activation="softmax")])
    model.compile("adamw", "sparse_categorical_crossentropy", metrics=["accuracy"])
    given = {"validation_data": (inputs, labels), "epochs": 4, **more}
    model.fit(inputs, labels, batch_size=16, verbose=0, callbacks=[callback], **given)
    return model


def test_every_epoch_is_reported_at_its_optimizer_s_step(plan):
    told = plan()
    model = fit(Callback(told.report))
    assert told.steps == [2, 4, 6, 8]
    assert told.told[-1][1] == pytest.approx(model.history.history["val_loss"][-1])
    assert all(0 <= accuracy <= 1 for _, _, accuracy in told.told)


def test_only_the_trial_s_steps_are_reported(plan):
    trial = plan()
    fit(Callback(trial=trial))
    assert trial.steps == [2, 6, 8]


def test_training_stops_when_told_to(plan):
    trial = plan(stop=6)
    model = fit(Callback(trial=trial))
    assert trial.steps == [2, 6]
    assert int(model.optimizer.iterations) == 6


def test_without_validation_data_that_is_said(plan):
    with pytest.warns(UserWarning, match=r"^no measurement had 'val_loss', only accuracy, loss; "):
        fit(Callback(plan().report), validation_data=None)
