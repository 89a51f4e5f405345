"""The rivals of the population engine, each at its best: plain Flax, and PyTorch in one or several processes.

All train the network, optimizer and batch of a `Case` on the same images. torch is imported inside functions, so that
the engine can be measured against plain Flax where there is no torch.
"""

import dataclasses
import multiprocessing

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

from fmnist_jax import config, experiment, models
from fmnist_jax.data import Dataset


@dataclasses.dataclass(frozen=True, eq=False)
class Case:
    """What all contenders train: one network at one batch size."""

    workload: str
    runs: int
    checked: config.Experiment
    static: experiment.Static
    hyper: experiment.Hyper
    dataset: Dataset

    @property
    def flops(self) -> int:
        """Of training on one image: forward, and twice that backward."""
        return 3 * models.forward_flops(self.static.model, self.static.image_shape)


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
        self.case, self.chunk, self.runs, self.step_count = case, chunk, case.runs, 0
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

    def train(self, steps: int) -> None:
        """Trains every run for `steps` steps, a multiple of `chunk`; returns when that is done."""
        for _ in range(steps // self.chunk):
            self.state, losses = self._many(*self._arguments())
            self.step_count += self.chunk
        jax.block_until_ready(losses)

    def accuracy(self) -> float:
        """Of the first run, on the test set."""
        variables = jax.tree.map(lambda leaf: leaf[0], self.state[0])
        predict = jax.jit(lambda images: self.net.apply(variables, images / 255.0, train=False).argmax(-1))
        pieces = np.array_split(self.case.dataset.test_images, max(1, len(self.case.dataset.test_labels) // 500))
        return float(np.mean(np.concatenate([predict(p) for p in pieces]) == self.case.dataset.test_labels))


@dataclasses.dataclass(frozen=True)
class Choice:
    """One way to run PyTorch."""

    dtype: str = "float32"  # float32 | bfloat16 (autocast)
    layout: str = "contiguous"  # contiguous | channels_last
    processes: int = 1  # runs in flight
    threads: int = 1  # of each process
    compiled: bool = False  # torch.compile

    def __str__(self):
        parts = [self.dtype, self.layout, f"processes {self.processes}", f"threads {self.threads}"]
        return ", ".join([*parts, *["torch.compile"] * self.compiled])


class TorchRun:
    """One run in PyTorch, normalised images resident as float32, fused Adam (the fastest of its three on a CPU)."""

    def __init__(self, case: Case, choice: Choice, seed: int = 0):
        import torch
        from torch.nn import functional

        torch.set_flush_denormal(True)
        torch.manual_seed(seed)
        self.torch, self.case, self.choice, self.last = torch, case, choice, choice.layout == "channels_last"
        self.net = torch_net(case)
        if self.last:
            self.net = self.net.to(memory_format=torch.channels_last)
        hyper, params = case.checked.optimizer, self.net.parameters()
        self.adam = torch.optim.Adam(params, hyper.learning_rate, (hyper.b1, hyper.b2), hyper.eps, fused=True)
        self.autocast = torch.autocast("cpu", torch.bfloat16, enabled=choice.dtype == "bfloat16")
        self.loss = lambda images, labels: functional.cross_entropy(self.net(images), labels)
        if choice.compiled:
            torch._dynamo.config.recompile_limit = 100  # every run compiles these lines anew
            self.loss = torch.compile(self.loss, dynamic=False)
        self.images = self._resident(case.dataset.train_images)
        self.labels = torch.from_numpy(case.dataset.train_labels.astype(np.int64))
        self.batches = iter(())

    def _resident(self, images):
        """[N, H, W, C] uint8 -> float32, channels where this layout wants them."""
        images = np.moveaxis(images, -1, -1 if self.last else 1)
        return self.torch.from_numpy(np.ascontiguousarray(images, np.float32) / 255)

    def _viewed(self, images):
        # Of one channel, .to(channels_last) leaves the strides as they are; a permuted view of NHWC does not.
        return images.permute(0, 3, 1, 2) if self.last else images

    def step(self, images, labels):
        """One step on float32 [B, C, H, W]: the mean loss before it."""
        with self.autocast:
            loss = self.loss(images, labels)
        self.adam.zero_grad()
        loss.backward()
        self.adam.step()
        return loss

    def train(self, steps: int) -> None:
        """Trains for `steps` steps, each epoch in a new order."""
        self.torch.set_num_threads(self.choice.threads)
        for _ in range(steps):
            batch = next(self.batches, None)
            if batch is None:
                order = self.torch.randperm(len(self.labels))
                used = self.case.static.steps_per_epoch * self.case.static.batch_size
                self.batches = iter(order[:used].split(self.case.static.batch_size))
                batch = next(self.batches)
            self.step(self._viewed(self.images.index_select(0, batch)), self.labels.index_select(0, batch))

    def accuracy(self) -> float:
        """On the test set."""
        self.net.eval()
        with self.torch.no_grad(), self.autocast:
            pieces = self._viewed(self._resident(self.case.dataset.test_images)).split(500)
            predicted = self.torch.cat([self.net(piece).argmax(-1) for piece in pieces])
        self.net.train()
        return float(np.mean(predicted.numpy() == self.case.dataset.test_labels))


def torch_net(case: Case):
    """The network of a case as a torch.nn.Sequential, drawn as Keras draws it."""
    from torch import nn

    spec, layers, channels = case.static.model, [], case.static.image_shape[-1]
    for block in spec.blocks:
        layers += [nn.Conv2d(channels, block.filters, block.kernel, padding=block.kernel // 2), nn.ReLU(inplace=True)]
        layers += [nn.MaxPool2d(block.pool_size)]
        if block.norm == "batch":
            model = case.checked.model
            layers += [nn.BatchNorm2d(block.filters, model.norm_epsilon, momentum=1 - model.norm_momentum)]
        channels = block.filters
    layers += [nn.Flatten()]
    width = int(np.prod(models.feature_shapes(spec, case.static.image_shape)[-1]))
    for layer in spec.dense:
        layers += [nn.Linear(width, layer.units), nn.ReLU(inplace=True)]
        width = layer.units
    layers += [nn.Linear(width, spec.classes)]
    for layer in layers:
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)
    return nn.Sequential(*layers)


class Team:
    """Processes that hold a `TorchRun` a name, started once and told what to do; 0: all happens in this one."""

    def __init__(self, processes: int):
        spawn = multiprocessing.get_context("spawn")
        self.members, self.held = [], {}
        for _ in range(processes):
            ours, theirs = spawn.Pipe()
            process = spawn.Process(target=_work, args=(theirs,), daemon=True)
            process.start()
            theirs.close()
            self.members.append((ours, process))

    def call(self, count: int, *message):
        """Tells the first `count` members (name, method, *args) at once; their answers when all have answered."""
        if not self.members:
            return [_obey(self.held, *message)]
        pipes = [pipe for pipe, _ in self.members[:count]]
        for pipe in pipes:
            pipe.send(message)
        answers = [pipe.recv() for pipe in pipes]
        if failed := [a for a in answers if isinstance(a, Exception)]:
            raise failed[0]
        return answers

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        for pipe, process in self.members:
            pipe.close()
            process.join(10)


def _obey(held: dict, name: str, method: str, *args):
    if method != "build":
        return getattr(held[name], method)(*args)
    held.pop(name, None)  # its memory first
    held[name] = TorchRun(*args)
    return None


def _work(pipe) -> None:
    held = {}
    while True:
        try:
            message = pipe.recv()
        except (EOFError, KeyboardInterrupt):
            return
        try:
            pipe.send(_obey(held, *message))
        except Exception as error:
            pipe.send(RuntimeError(f"{type(error).__name__}: {error}"))


class Torch:
    """As many runs in flight as the choice has processes, under a name in the team."""

    chunk = 1

    def __init__(self, case: Case, choice: Choice, team: Team, name: str):
        self.team, self.name, self.runs = team, name, choice.processes
        team.call(self.runs, name, "build", case, choice)

    def warm(self) -> None:
        """Allocates, compiles and fills the caches."""
        self.train(3)

    def train(self, steps: int) -> None:
        """Trains every run for `steps` steps; returns when that is done."""
        self.team.call(self.runs, self.name, "train", steps)

    def accuracy(self) -> float:
        """Of the first run, on the test set."""
        return self.team.call(1, self.name, "accuracy")[0]
