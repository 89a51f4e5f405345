"""Plain Flax, as its users write it: nn.Conv under jax.vmap over runs and lax.scan over steps."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

from benchmarks.cases import Case
from fmnist_jax import models


class PlainNet(nn.Module):
    """The network as a Flax user writes it: nn.Conv, nn.max_pool, nn.BatchNorm, nn.Dense."""

    spec: models.Spec
    momentum: float
    epsilon: float

    @nn.compact
    def __call__(self, images, *, train: bool):
        """images [B, H, W, C] float32 -> logits [B, classes]."""
        glorot = nn.initializers.glorot_uniform()
        x = images
        for i, block in enumerate(self.spec.blocks):
            x = nn.relu(nn.Conv(block.filters, (block.kernel,) * 2, kernel_init=glorot, name=f"conv_{i}")(x))
            x = nn.max_pool(x, (block.pool_size,) * 2, (block.pool_size,) * 2)
            if block.norm == "batch":
                norm = nn.BatchNorm(not train, momentum=self.momentum, epsilon=self.epsilon, name=f"norm_{i}")
                x = norm(x)
        x = x.reshape(len(x), -1)
        for i, layer in enumerate(self.spec.dense):
            x = nn.relu(nn.Dense(layer.units, kernel_init=glorot, name=f"dense_{i}")(x))
        return nn.Dense(self.spec.classes, kernel_init=glorot, name="logits")(x)


class PlainFlax:
    """All runs at once: vmap over runs, lax.scan over `chunk` steps, which is the unit of work."""

    def __init__(self, case: Case, chunk: int, seed: int = 0):
        static, optimizer, model = case.static, case.checked.optimizer, case.checked.model
        self.case, self.chunk, self.runs, self.batch, self.step_count = case, chunk, case.runs, case.batch, 0
        self.net = PlainNet(static.model, model.norm_momentum, model.norm_epsilon)
        self.adam = optax.adam(optimizer.learning_rate, optimizer.b1, optimizer.b2, optimizer.eps)
        self.images, self.labels = jnp.asarray(case.dataset.train_images), jnp.asarray(case.dataset.train_labels)
        self._many = jax.jit(jax.vmap(self._scan, in_axes=(0, 0, None, None)))
        self.state = jax.jit(jax.vmap(self.init))(jax.random.split(jax.random.key(seed), case.runs))
        order = np.tile(np.arange(len(self.labels), dtype=np.int32), (case.runs, 1))
        order = np.random.default_rng(seed).permuted(order, axis=1)[:, : static.steps_per_epoch * static.batch_size]
        self.orders = order.reshape(case.runs, static.steps_per_epoch, static.batch_size)

    def init(self, key):
        """(variables, optimizer state) of one run."""
        variables = self.net.init(key, jnp.zeros((1, *self.case.static.image_shape)), train=False)
        return variables, self.adam.init(variables["params"])

    def step(self, state, images, labels):
        """One step on images [B, H, W, C] uint8: the new state, and the mean loss before it."""
        variables, opt_state = state

        def mean_loss(params):
            inputs = images.astype(jnp.float32) / 255
            logits, updated = self.net.apply({**variables, "params": params}, inputs, train=True, mutable="batch_stats")
            return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean(), updated

        (loss, updated), grads = jax.value_and_grad(mean_loss, has_aux=True)(variables["params"])
        updates, opt_state = self.adam.update(grads, opt_state)
        return ({**updated, "params": optax.apply_updates(variables["params"], updates)}, opt_state), loss

    def _scan(self, state, order, images, labels):
        return jax.lax.scan(lambda state, batch: self.step(state, images[batch], labels[batch]), state, order)

    def _arguments(self):
        rows = np.arange(self.step_count, self.step_count + self.chunk) % self.orders.shape[1]
        return self.state, self.orders[:, rows], self.images, self.labels

    def warm(self) -> None:
        """Compiles; a step may take many seconds, so none is spent on it."""
        self._many = self._many.lower(*self._arguments()).compile()

    def work(self, steps: int) -> None:
        """So many steps of every run, a multiple of `chunk`; returns when they are done."""
        for _ in range(steps // self.chunk):
            self.state, losses = self._many(*self._arguments())
            self.step_count += self.chunk
        jax.block_until_ready(losses)

    def accuracies(self) -> list[float]:
        """Of every run, on the test set."""
        predict = jax.jit(lambda variables, images: self.net.apply(variables, images / 255.0, train=False).argmax(-1))
        images, labels = self.case.dataset.test_images, self.case.dataset.test_labels
        pieces = np.array_split(images, max(1, len(labels) // 500))

        def accuracy(run: int) -> float:
            variables = jax.tree.map(lambda leaf: leaf[run], self.state[0])
            return float(np.mean(np.concatenate([predict(variables, piece) for piece in pieces]) == labels))

        return [accuracy(run) for run in range(self.runs)]

    def drop(self) -> None:
        """Lets the images and the states go."""
        self.state = self.images = self.labels = None
