"""What a photograph as a whole shows, fitted: by hand, and found again where the truth is a linear map."""

import numpy as np
import pytest

from fcln.training.scene import Shown, fit_scene


def test_one_number_by_hand():
    # One code number, one term whose vector is (1, 0). The two codes are 2 apart: mean 1, deviation 1 (and 0.001).
    shown = Shown(np.array([[0.0], [2.0]]), np.array([[False], [True]]))
    scene = fit_scene([shown], np.array([[1.0, 0.0]]), share=0.5)
    # Whatever the squares' weights are, the longer of both moves is the shorter: lengths are 0.5 on both sides.
    np.testing.assert_allclose(scene.weight @ [0.0] + scene.bias, [-0.5, 0], atol=1e-6)
    np.testing.assert_allclose(scene.weight @ [2.0] + scene.bias, [0.5, 0], atol=1e-6)


def test_phrases_agree_with_the_scenes_that_show_them():
    rng = np.random.default_rng(0)
    vectors = np.linalg.qr(rng.normal(size=(8, 8)))[0][:4]  # four terms, at right angles
    hidden = rng.normal(size=(4, 16))
    terms = rng.random((500, 4)) < 0.3
    codes = terms @ hidden + 0.1 * rng.normal(size=(500, 16))
    # Another set, whose codes all lie elsewhere and where the first term is never named.
    others = rng.random((300, 4)) < 0.3
    others[:, 0] = False
    elsewhere = 5 + others @ hidden + 0.1 * rng.normal(size=(300, 16))
    scene = fit_scene([Shown(codes, terms), Shown(elsewhere, others)], vectors)
    for of_photos, shows in ((codes, terms), (elsewhere, others)):
        agreement = (of_photos @ scene.weight.T + scene.bias) @ vectors.T
        for term in range(4):
            if shows[:, term].any():
                assert agreement[shows[:, term], term].min() > agreement[~shows[:, term], term].max()
    both = np.concatenate([codes, elsewhere]) @ scene.weight.T + scene.bias
    assert np.linalg.norm(both, axis=1).mean() == pytest.approx(0.12, rel=1e-4)
