"""Each setting of the loop: from the options, else from the checkpoint, else a default; and it says so."""

from __future__ import annotations

from typing import Any

import pytest

from cohaudit.audits.optimizer_settings import OptimizerSettings
from cohaudit.config import Config
from cohaudit.errors import ConfigError
from cohaudit.pipeline.crossfit.recipe import DEFAULTS, Recipe, Recorded, check_options, loop_recipe

ADAMW = OptimizerSettings("adamw", 0.003, 0.0003, weight_decay=0.1)
WHOLE = Recorded(ADAMW, steps=1000, epochs=20)


NOTHING = Recorded()


def recipe(recorded: Recorded = NOTHING, samples: int = 1600, **settings: Any) -> Recipe:
    config = Config().updated({f"crossfit_{name}": value for name, value in settings.items()})
    return loop_recipe(config, recorded, samples)


def test_the_checkpoint_is_followed() -> None:
    found = recipe(WHOLE)
    assert (found.optimizer, found.batch_size, found.epochs) == (ADAMW, 32, 20)
    assert found.words == (
        "AdamW with learning rate 0.003, falling to 0.0003 along a cosine, weight decay 0.1 (from the "
        "checkpoint), batches of 32 (from the checkpoint's steps and epochs), 20 epochs (from the checkpoint)"
    )


def test_options_come_first_one_by_one() -> None:
    found = recipe(WHOLE, lr=0.5, epochs=1)
    assert found.optimizer == OptimizerSettings("adamw", 0.5, 0.5, weight_decay=0.1)
    assert found.batch_size == 32
    assert found.words.endswith("1 epoch (as set)")
    assert "(from the checkpoint, learning rate as set)" in found.words
    assert recipe(WHOLE, batch_size=7).batch_size == 7


def test_the_rate_of_another_optimizer_is_not_taken() -> None:
    assert recipe(WHOLE, optimizer="sgd").optimizer == DEFAULTS["sgd"]
    assert recipe(WHOLE, optimizer="adamw").optimizer == ADAMW


def test_without_anything_there_are_defaults() -> None:
    found = recipe()
    assert (found.optimizer, found.batch_size, found.epochs) == (DEFAULTS["adam"], 64, 0)
    assert "early stopping" in found.words
    assert found.words.count("default") == 3
    assert [recipe(samples=n).batch_size for n in (30, 400, 10_000)] == [8, 20, 64]


def test_a_schedule_needs_a_length() -> None:
    found = recipe(Recorded(ADAMW))
    assert found.epochs == 0
    assert found.optimizer.lr == found.optimizer.last_lr == 0.003


def test_steps_become_epochs_if_their_number_is_known() -> None:
    config = Config().updated({"steps_per_epoch": 50})
    assert loop_recipe(config, Recorded(ADAMW, steps=1000), 1600).epochs == 20


@pytest.mark.parametrize(
    ("settings", "where", "remedy"),
    [
        ({"crossfit": 1}, "--crossfit 1", "give at least 2"),
        ({"crossfit_optimizer": "adan"}, "--crossfit-optimizer adan", "did you mean adam"),
        (
            {"crossfit_recipe": "train.py:fit", "crossfit_epochs": 3},
            "--crossfit-epochs",
            "set it in the function, or leave one out",
        ),
    ],
)
def test_settings_that_contradict_are_refused(settings: dict[str, Any], where: str, remedy: str) -> None:
    with pytest.raises(ConfigError) as refused:
        check_options(Config().updated({"crossfit": 5, **settings}))
    assert refused.value.where == where
    assert remedy in refused.value.remedy
