"""Vectors of terms from regions of which everything is known."""

import numpy as np
import pytest
import torch

from fcln.training import term_vectors
from fcln.training.term_vectors import LEAST_SHOWN, ShownRegions, fit_term_vectors

DOG = np.array([1, 0, 0, 0], np.float32)
ROOT = np.sqrt(0.5)
SHOWN, LACKING = [ROOT, ROOT, 0, 0], [ROOT, -ROOT, 0, 0]  # as near to DOG, one as the other
FAR = [0.0, 0, 0, 1]


def photographs(count: int, closest: list[float], *, shown: bool, others: int = 2) -> ShownRegions:
    """Photographs with one region near DOG and others far from it; a row more that is no region at all."""
    embeddings = torch.tensor([closest, *[FAR] * others, [9.0] * 4]).repeat(count, 1, 1)
    terms = np.tile([[shown, not shown]], (count, 1))
    return ShownRegions(embeddings, torch.full((count,), 1 + others), terms)


def joined(*sets: ShownRegions) -> ShownRegions:
    return ShownRegions(
        torch.cat([each.embeddings for each in sets]),
        torch.cat([each.counts for each in sets]),
        np.concatenate([each.terms for each in sets]),
    )


def test_a_vector_moves_to_what_tells_photographs_apart():
    shown = joined(photographs(5, SHOWN, shown=True), photographs(20, LACKING, shown=False))
    known, vectors = fit_term_vectors([shown], np.stack([DOG, -DOG]))
    assert known.tolist() == [0, 1] and vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    assert vectors[0] @ SHOWN > DOG @ SHOWN + 0.02 and vectors[0] @ LACKING < DOG @ LACKING - 0.02
    # Only the second number tells them apart.
    direction = vectors[0] / vectors[0][0] - DOG
    assert abs(direction[1]) > 100 * np.abs(direction[2:]).max()


def test_the_step_is_one_of_similarities_by_their_deviation():
    shown = joined(photographs(10, SHOWN, shown=True), photographs(10, LACKING, shown=False))
    (vector, _) = fit_term_vectors([shown], np.stack([DOG, -DOG]), step=0.1)[1]
    # All averages are +-ROOT (and a little of what is far) in the second number: a deviation of 1 is 1 / ROOT of it.
    share = 1 / (1 + 2 * np.exp(-term_vectors._SHARPNESS * ROOT))  # of the closest region in its average
    assert vector[1] / vector[0] == pytest.approx(0.1 / (ROOT * share), rel=1e-4)


def test_the_closest_region_weighs_most_and_rows_that_are_no_region_nothing():
    regions = torch.tensor([[[1.0, 0, 0, 0], [0, 1, 0, 0], [5, 5, 5, 5]]])
    shown = ShownRegions(regions, torch.tensor([2]), np.ones((1, 1), bool))
    (average,) = term_vectors._averages(shown, torch.from_numpy(DOG[None]))[0]
    near = np.exp(20.0) / (np.exp(20.0) + 1)
    np.testing.assert_allclose(average, [near, 1 - near, 0, 0], rtol=1e-5)


def test_data_sets_that_differ_as_a_whole_teach_nothing_of_that():
    # All of the second set lies elsewhere, and shows the thing more often: that is no sign of it.
    other = [ROOT, 0, ROOT, 0]
    first = joined(photographs(4, SHOWN, shown=True), photographs(16, LACKING, shown=False))
    second = joined(photographs(16, other, shown=True), photographs(4, other, shown=False))
    (vector, _) = fit_term_vectors([first, second], np.stack([DOG, -DOG]))[1]
    assert vector[1] > 0.03 and abs(vector[2]) < 1e-3


def test_what_too_few_photographs_show_has_none():
    rare = joined(photographs(LEAST_SHOWN - 1, SHOWN, shown=True), photographs(LEAST_SHOWN, LACKING, shown=False))
    known, vectors = fit_term_vectors([rare], np.stack([DOG, -DOG]))
    assert known.tolist() == [1] and vectors.shape == (1, 4)
    more = joined(rare, photographs(1, SHOWN, shown=True))
    assert fit_term_vectors([rare, photographs(1, SHOWN, shown=True)], np.stack([DOG, -DOG]))[0].tolist() == [0, 1]
    assert fit_term_vectors([more], np.stack([DOG, -DOG]))[0].tolist() == [0, 1]


def test_more_terms_than_are_fitted_together(monkeypatch):
    shown = joined(photographs(5, SHOWN, shown=True), photographs(20, LACKING, shown=False))
    encoded = np.stack([DOG, -DOG])
    together = fit_term_vectors([shown], encoded)[1]
    monkeypatch.setattr(term_vectors, "_AT_ONCE", 1)
    np.testing.assert_allclose(fit_term_vectors([shown], encoded)[1], together, atol=1e-6)
