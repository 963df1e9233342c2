"""The attack on visits by a small convolutional network, on raw sequences instead of features.

Two views, each through its own convolutions: the signed sizes and gaps of the first datagrams in their
order, and counts and bytes of each direction in steps of 20 ms. In jax: PyTorch for x86-64 comes from PyPI
only together with several gigabytes of libraries for graphics processors.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from sklearn.model_selection import StratifiedKFold

from .classify import FOLDS
from .observer import DOWN, UP

PACKETS, STEP = 512, 0.02
BATCH, EPOCHS, RATE = 64, 30, 1.5e-3
WIDTHS = (24, 48, 64)
FILTER = 7


def attack(visits, labels, window, seed):
    """Trains on four folds and guesses the fifth, for each; returns truth and guesses."""
    names, truth = np.unique(labels, return_inverse=True)
    order, steps = views(visits, window)
    guesses = np.empty_like(truth)
    for fold, (train, test) in enumerate(StratifiedKFold(FOLDS, shuffle=True, random_state=seed).split(order, truth)):
        parameters = fit((order[train], steps[train]), truth[train], len(names), seed * 100 + fold)
        for at in range(0, len(test), 256):
            part = test[at:at + 256]
            guesses[part] = np.asarray(jnp.argmax(forward(parameters, order[part], steps[part]), axis=1))
    return truth, guesses


def views(visits, window):
    """What the network sees of the visits: (visits, PACKETS, 3) and (visits, steps, 4)."""
    edges = np.arange(0, window + STEP / 2, STEP)
    order = np.zeros((len(visits), PACKETS, 3), np.float32)
    steps = np.zeros((len(visits), len(edges) - 1, 4), np.float32)
    for n, visit in enumerate(visits):
        seen = visit.seen
        time, length, direction = seen["time"] / 1e9, seen["length"] / 1500, seen["direction"]
        gap = np.log10(np.maximum(np.diff(time, prepend=0), 1e-6)) / 6 + 0.5
        row = np.stack([direction * length, direction, gap], axis=1)[:PACKETS]
        order[n, :len(row)] = row
        for column, side in ((0, UP), (2, DOWN)):
            mask = direction == side
            steps[n, :, column] = np.log1p(np.histogram(time[mask], edges)[0])
            steps[n, :, column + 1] = np.log1p(np.histogram(time[mask], edges, weights=length[mask])[0])
    return order, steps


def initial(key, channels, classes):
    """Two towers of convolutions, and two dense layers."""
    parameters = {"towers": [], "dense": []}
    for inputs in channels:
        tower = []
        for width in WIDTHS:
            key, use = jax.random.split(key)
            tower.append((jax.random.normal(use, (FILTER, inputs, width)) * np.sqrt(2 / (FILTER * inputs)), jnp.zeros(width)))
            inputs = width
        parameters["towers"].append(tower)
    inputs = 2 * 2 * WIDTHS[-1] + 2 * 8 * WIDTHS[-1]
    for width in (128, classes):
        key, use = jax.random.split(key)
        parameters["dense"].append((jax.random.normal(use, (inputs, width)) * np.sqrt(2 / inputs), jnp.zeros(width)))
        inputs = width
    return parameters


@jax.jit
def forward(parameters, order, steps, key=None):
    """Scores of the classes."""
    parts = []
    for tower, x in zip(parameters["towers"], (order, steps)):
        for weights, bias in tower:
            x = jax.lax.conv_general_dilated(x, weights, (1,), "SAME", dimension_numbers=("NWC", "WIO", "NWC"))
            x = jax.nn.relu(x + bias)
            x = jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (1, 3, 1), (1, 2, 1), "SAME")
        # where something happens, in eighths of the time, and whether it happens at all
        eighths = jnp.stack([part.mean(axis=1) for part in jnp.array_split(x, 8, axis=1)], axis=1)
        parts += [eighths.reshape(len(x), -1), x.max(axis=1), x.mean(axis=1)]
    x = jnp.concatenate(parts, axis=1)
    for layer, (weights, bias) in enumerate(parameters["dense"]):
        if key is not None:
            kept = jax.random.bernoulli(jax.random.fold_in(key, layer), 0.6, x.shape)
            x = jnp.where(kept, x / 0.6, 0)
        x = x @ weights + bias
        if layer == 0:
            x = jax.nn.relu(x)
    return x


def loss(parameters, order, steps, truth, key):
    scores = jax.nn.log_softmax(forward(parameters, order, steps, key))
    return -jnp.take_along_axis(scores, truth[:, None], axis=1).mean()


@functools.partial(jax.jit, donate_argnums=(0, 1, 2))
def step(parameters, mean, square, number, batch, key, rate):
    """One step of Adam."""
    slope = jax.grad(loss)(parameters, *batch, key)
    mean = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, mean, slope)
    square = jax.tree.map(lambda s, g: 0.999 * s + 0.001 * g * g, square, slope)

    def move(p, m, s):
        return p - rate * (m / (1 - 0.9 ** number)) / (jnp.sqrt(s / (1 - 0.999 ** number)) + 1e-8)
    return jax.tree.map(move, parameters, mean, square), mean, square


def fit(inputs, truth, classes, seed):
    order, steps = inputs
    dice = np.random.default_rng(seed)
    parameters = initial(jax.random.PRNGKey(seed), (order.shape[2], steps.shape[2]), classes)
    mean, square = jax.tree.map(jnp.zeros_like, parameters), jax.tree.map(jnp.zeros_like, parameters)
    batches = len(truth) // BATCH
    total, number = EPOCHS * max(1, batches), 0
    for _ in range(EPOCHS):
        shuffled = dice.permutation(len(truth))
        for n in range(max(1, batches)):
            part = shuffled[n * BATCH:(n + 1) * BATCH]
            number += 1
            rate = RATE * 0.5 * (1 + np.cos(np.pi * number / total))
            parameters, mean, square = step(parameters, mean, square, float(number), (order[part], steps[part], truth[part]),
                                            jax.random.PRNGKey(seed * 100_003 + number), rate)
    return parameters
