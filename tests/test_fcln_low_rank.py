"""A layer as a product of two: by hand, and against other products of the same rank."""

import numpy as np
import pytest

from fcln.training.low_rank import Factors, Moments, factorize


class Layer:
    """A layer of 12 outputs that depend on each other, 400 inputs of 20 numbers, and what it makes of them."""

    def __init__(self):
        rng = np.random.default_rng(0)
        self.weight = rng.normal(size=(12, 20)).astype(np.float32)
        self.bias = rng.normal(size=12).astype(np.float32)
        # Some numbers vary more than others, together, around a mean that is not 0.
        self.inputs = rng.normal(size=(400, 20)) * np.logspace(0, -2, 20) @ rng.normal(size=(20, 20)) + 3
        self.outputs = self.inputs @ self.weight.T + self.bias
        self.moments = Moments(12)
        self.moments.add(self.outputs)

    def factorize(self, importance: np.ndarray, *, rank: int) -> Factors:
        return factorize(self.weight, self.bias, self.moments, importance, rank=rank)


@pytest.fixture(scope="module")
def layer() -> Layer:
    return Layer()


def applied(factors: Factors, inputs: np.ndarray) -> np.ndarray:
    return inputs @ factors.first.T @ factors.second.T + factors.bias


def squared_error(found: np.ndarray, expected: np.ndarray, importance: np.ndarray) -> float:
    return float((((found - expected) * importance) ** 2).sum())


def test_moments_of_parts_are_those_of_all(layer):
    parts = Moments(12)
    for part in (layer.outputs[:1], layer.outputs[1:250], layer.outputs[250:250], layer.outputs[250:]):
        parts.add(part.astype(np.float32))
    assert parts.count == 400
    np.testing.assert_allclose(parts.mean, layer.outputs.mean(0), rtol=1e-5)
    np.testing.assert_allclose(parts.covariance, np.cov(layer.outputs.T, bias=True), rtol=1e-4, atol=1e-4)


def test_two_outputs_by_hand():
    # The sum of two outputs varies, by 2 around 10; what they differ by does not: it is 4, which the bias says.
    moments = Moments(2)
    moments.add(np.array([[6.0, 2.0], [8.0, 4.0]]))
    assert moments.mean.tolist() == [7, 3] and moments.covariance.tolist() == [[1, 1], [1, 1]]
    factors = factorize(np.array([[1.0, 0.0], [1.0, 0.0]]), np.array([6.0, 2.0]), moments, np.ones(2), rank=1)
    assert factors.kept == pytest.approx(1)
    np.testing.assert_allclose(factors.second @ factors.first, [[1, 0], [1, 0]], atol=1e-6)
    np.testing.assert_allclose(np.abs(factors.first), [[1, 0]], atol=1e-6)  # of 0 and 2 it makes -1 and 1, and a mean
    np.testing.assert_allclose(factors.bias, [6, 2], atol=1e-6)


def test_all_numbers_kept_are_the_layer_itself(layer):
    factors = layer.factorize(np.linspace(0.5, 2, 12), rank=12)
    np.testing.assert_allclose(factors.second @ factors.first, layer.weight, atol=1e-4)
    np.testing.assert_allclose(applied(factors, layer.inputs), layer.outputs, rtol=1e-4, atol=1e-3)
    assert factors.kept == pytest.approx(1)


@pytest.mark.parametrize("rank", [1, 4, 9])
def test_no_other_layers_of_that_rank_err_less(layer, rank):
    importance = np.linspace(0.3, 3, 12)
    factors = layer.factorize(importance, rank=rank)
    assert factors.first.shape == (rank, 20) and factors.second.shape == (12, rank)
    assert factors.first.dtype == factors.second.dtype == factors.bias.dtype == np.float32
    error = squared_error(applied(factors, layer.inputs), layer.outputs, importance)
    # The least that there is: what the singular values left out hold (Eckart and Young 1936).
    mean = layer.outputs.mean(0)
    of_all = np.linalg.svd((layer.outputs - mean) * importance, compute_uv=False) ** 2
    assert error == pytest.approx(of_all[rank:].sum(), rel=1e-3)
    assert factors.kept == pytest.approx(of_all[:rank].sum() / of_all.sum(), rel=1e-6)
    rng = np.random.default_rng(1)
    u, s, v = np.linalg.svd(layer.weight.astype(np.float64))
    others = [((u[:, :rank] * s[:rank]) @ v[:rank], layer.bias)]  # of the weights alone
    weight = factors.second.astype(np.float64) @ factors.first
    others += [(weight, factors.bias + 0.01 * change) for change in rng.normal(size=(5, 12))]
    for _ in range(20):
        basis = np.linalg.qr(rng.normal(size=(12, rank)))[0]
        others.append((basis @ basis.T @ layer.weight, mean + basis @ basis.T @ (layer.bias - mean)))
        change = rng.normal(size=factors.second.shape) * 0.01
        others.append(((factors.second + change) @ factors.first, factors.bias))
    for other, bias in others:
        assert squared_error(layer.inputs @ other.T + bias, layer.outputs, importance) > error


def test_what_matters_more_errs_less(layer):
    errors = {}
    for weighty in (2, 7):
        importance = np.ones(12)
        importance[weighty] = 30
        errors[weighty] = ((applied(layer.factorize(importance, rank=3), layer.inputs) - layer.outputs) ** 2).mean(0)
    assert errors[2][2] < errors[7][2] / 20 and errors[7][7] < errors[2][7] / 20


def test_numbers_between_the_layers_vary_by_one_and_apart(layer):
    factors = layer.factorize(np.linspace(0.5, 2, 12), rank=5)
    between = layer.inputs @ factors.first.T
    np.testing.assert_allclose(np.cov(between.T, bias=True), np.eye(5), atol=1e-3)


def test_an_output_that_never_varies_is_what_the_bias_says(layer):
    outputs = layer.outputs.copy()
    outputs[:, 4] = -7.0
    weight, bias = layer.weight.copy(), layer.bias.copy()
    weight[4], bias[4] = 0, -7
    moments = Moments(12)
    moments.add(outputs)
    for rank in (3, 12):
        factors = factorize(weight, bias, moments, np.ones(12), rank=rank)
        np.testing.assert_allclose(applied(factors, layer.inputs)[:, 4], -7, atol=1e-4)
        assert factors.bias[4] == pytest.approx(-7)


def test_directions_that_never_vary_fit_into_float16(layer):
    # Six inputs vary, so do outputs in six directions only: the other numbers are divided by nearly nothing.
    inputs = layer.inputs.copy()
    inputs[:, 6:] = 0
    outputs = inputs @ layer.weight.T + layer.bias
    moments = Moments(12)
    moments.add(outputs)
    factors = factorize(layer.weight, layer.bias, moments, np.ones(12), rank=12)
    stored = [each.astype(np.float16).astype(np.float64) for each in (factors.first, factors.second, factors.bias)]
    found = applied(Factors(*stored, kept=1.0), inputs)
    assert np.linalg.norm(found - outputs) < 0.01 * np.linalg.norm(outputs - outputs.mean(0))
