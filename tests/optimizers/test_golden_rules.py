"""Recordings of schedules, batch tests and rates of modules: an edited number is told."""

import json
from pathlib import Path

import pytest
import torch

from autotune.testing import golden

OTHERS = Path(__file__).parents[1] / "golden" / "others"
EDITS = [
    ("agvm_sgd", ("steps", 6, "scale_factors", 1), "iter 6: factors: "),
    ("agvm_sgd", ("steps", 3, "params", 2, 0), "iter 3: parameter 2: "),
    ("batch_norm_test_large_noise", ("norm_test", "new_batch_size"), "norm_test: new_batch_size: "),
    (
        "batch_norm_test_small_noise",
        ("orthogonality_test", "variance_sum_over_tensors"),
        "orthogonality_test: variance_sum_over_tensors: ",
    ),
    ("sched_refined_adam_smooth", ("smoothed", 100), "the smoothed norms: "),
    ("sched_refined_sgd_nosmooth", ("schedule_normalised", 5), "the schedule: "),
]


@pytest.mark.parametrize(("name", "place", "said"), EDITS, ids=[said for _, _, said in EDITS])
def test_an_edited_number_is_told(tmp_path, name, place, said):
    data = json.loads((OTHERS / f"{name}.json").read_text())
    holder = data
    for key in place[:-1]:
        holder = holder[key]
    holder[place[-1]] *= 1.0 + 1e-9
    path = tmp_path / "edited.json"
    path.write_text(json.dumps(data))
    why = golden.failure(path, backend="torch", dtype=torch.float64)
    assert why is not None
    assert why.startswith(said)
