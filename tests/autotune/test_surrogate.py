"""What the model of a space expects where nothing was tried."""

import numpy as np
import pytest

from autotune.samplers.surrogate import fit, lengths

RATE = ("lr", "one_minus_beta1")


def grid(count):
    side = np.linspace(0, 1, count)
    return np.array([(x, y) for x in side for y in side])


def model(points, scores, doubt=0.0, names=RATE):
    return fit(points, np.array(scores), np.full(len(points), doubt), lengths(names))


def test_expected_scores_fall_towards_what_did_best():
    points = grid(5)
    expected = model(points, (points[:, 0] - 0.7) ** 2 * 10)(
        np.array([[x, 0.4] for x in (0.0, 0.3, 0.6)])
    )
    assert expected[0] > expected[1] > expected[2]


def test_far_from_everything_the_average_is_expected():
    points = np.array([[0.0, 0.0], [0.02, 0.0], [0.04, 0.0]])
    (near, far) = model(points, [-1.0, 0.0, 1.0])(np.array([[0.0, 0.0], [90.0, 90.0]]))
    assert near < far
    assert far == pytest.approx(0, abs=1e-9)


def test_a_doubtful_score_counts_for_less():
    points = np.array([[0.1, 0.5], [0.9, 0.5]])
    sure = model(points, [-1.0, 1.0])(points)
    unsure = model(points, [-1.0, 1.0], doubt=3.0)(points)
    assert sure[0] < unsure[0] < 0 < unsure[1] < sure[1]


def test_what_matters_is_learned_where_it_is_not_what_usually_does():
    points = grid(6)
    other = model(points, np.sin(6 * points[:, 1]), names=("lr", "one_minus_beta2"))(points)
    assert np.corrcoef(other, np.sin(6 * points[:, 1]))[0, 1] > 0.9


def test_few_scores_are_believed_further_along_what_usually_matters_little():
    points = np.array([[x, 0.0] for x in (0.1, 0.3, 0.5, 0.7, 0.9)])
    scores = [2.0, 0.0, -2.0, 0.0, 2.0]
    along_beta = model(points, scores)(np.array([[0.5, 1.0]]))
    along_rate = model(points[:, ::-1], scores)(np.array([[1.0, 0.5]]))
    assert along_beta[0] < along_rate[0]


def test_equal_scores_expect_the_same_everywhere():
    points = grid(3)
    assert model(points, np.full(9, 4.0))(np.array([[0.3, 0.3]]))[0] == pytest.approx(4)
