"""Binary images and their noise."""

from __future__ import annotations

import importlib
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments.graphs.config import Config
from rntn_jax.crf import graph

__all__ = ["Images", "evidence", "load_splits"]


class Images(NamedTuple):
    """Images and what is seen of them."""

    truth: np.ndarray  # int32 [N, H, W], 0 or 1
    seen: np.ndarray  # float32 [N, H, W], -1 and 1 with noise


def load_splits(config: Config) -> dict[str, Images]:
    """Images of train, dev and test, and their noise, which depend on the seed.

    Raises:
        ImportError: when scikit-learn is wanted and not there.
        ValueError: when it has not as many images.
    """
    sizes = config.train_images, config.dev_images, config.test_images
    truth = _digits(sum(sizes)) if config.images == "digits" else _blobs(config, sum(sizes))
    rng = np.random.default_rng((config.seed, 1))
    sign = np.where(rng.random(truth.shape) < config.flip, -1, 1) * (2 * truth - 1)
    seen = (sign + config.sigma * rng.standard_normal(truth.shape)).astype(np.float32)
    ends = np.cumsum((0, *sizes))
    return {
        name: Images(truth[begin:end], seen[begin:end])
        for name, begin, end in zip(("train", "dev", "test"), ends, ends[1:])
    }


def _blobs(config: Config, count: int) -> np.ndarray:
    """Draws from a grid without node scores, by chains long enough to forget their start."""
    pixels = config.height * config.width
    edges = graph.grid_edges(config.height, config.width)
    table = jnp.tile(config.coupling * jnp.eye(2), (len(edges), 1, 1))
    scores = graph.Scores(jnp.zeros((pixels, 2)), table, jnp.asarray(edges))
    key = jax.random.key(config.seed, impl="rbg")
    drawn = graph.sample(key, scores, count, method="gibbs", num_sweeps=1000)
    return np.asarray(drawn).reshape(count, config.height, config.width)


def _digits(count: int) -> np.ndarray:
    """Handwritten digits of 8 by 8, black from half on, in the order of their file: by writers."""
    try:
        datasets = importlib.import_module("sklearn.datasets")
    except ImportError:
        raise ImportError(
            "the digits come with scikit-learn: ./launch.sh setup --extras=images"
        ) from None
    images = np.asarray(datasets.load_digits()["images"])
    if count > len(images):
        raise ValueError(f"there are {len(images)} digits, not {count}: use fewer images")
    return (images[:count] >= 8).astype(np.int32)


def evidence(config: Config, seen: np.ndarray) -> np.ndarray:
    """Log-odds of pixels by the noise alone, ``ln P(seen | 1) - ln P(seen | 0)``."""
    flip, variance = config.flip, config.sigma**2
    if variance == 0:
        return seen * np.log((1 - flip) / flip)
    of_noise = -((seen[..., None] - np.array([1.0, -1.0])) ** 2) / (2 * variance)
    kept, turned = np.exp(of_noise[..., 0]), np.exp(of_noise[..., 1])
    return np.log((1 - flip) * kept + flip * turned) - np.log(flip * kept + (1 - flip) * turned)
