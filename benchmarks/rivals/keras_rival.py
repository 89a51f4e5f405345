"""Keras 3, one run, on the backend of its process: `fit` on arrays in memory."""

import os

import numpy as np

from benchmarks.cases import Case
from benchmarks.rivals.choices import Choice

STEPS = 50  # of a call into the backend; JAX's alone has that


def environment(choice: Choice) -> dict[str, str]:
    """What the process needs to have from its start: the backend is chosen when Keras is imported."""
    return {"KERAS_BACKEND": choice.backend, "JAX_PLATFORMS": "cpu", "TF_CPP_MIN_LOG_LEVEL": "3"}


class KerasRun:
    """One run of a sequential network, with Keras's own layers, losses and optimizers."""

    def __init__(self, case: Case, choice: Choice, runs: int = 1, place: int = 0, seed: int = 0):
        if choice.threads == 1 and choice.processes > 1:  # XLA's pool has a thread for every core it may use
            os.sched_setaffinity(0, {sorted(os.sched_getaffinity(0))[place]})
        import keras

        if keras.backend.backend() != choice.backend:
            raise RuntimeError(f"KERAS_BACKEND={keras.backend.backend()}: this choice wants {choice.backend}")
        if choice.backend == "torch":
            import torch

            torch.set_num_threads(choice.threads)
            torch.set_flush_denormal(True)
        self.keras, self.case, self.first = keras, case, choice.layout == "contiguous"
        keras.config.set_image_data_format("channels_first" if self.first else "channels_last")
        keras.utils.set_random_seed(seed)
        self.net, hyper = keras_net(case, keras, self.first), case.checked.optimizer
        self.net.compile(
            keras.optimizers.Adam(hyper.learning_rate, hyper.b1, hyper.b2, hyper.eps),
            keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            jit_compile=choice.compiled,
            steps_per_execution=STEPS if choice.backend == "jax" else 1,
        )
        used = case.static.steps_per_epoch * case.batch
        order = np.random.default_rng(seed).permutation(len(case.dataset.train_labels))[:used]
        self.images, self.labels = self._placed(case.dataset.train_images[order]), case.dataset.train_labels[order]
        self.done = 0

    def _placed(self, images):
        """[N, H, W, C] uint8 -> float32, standardised, channels where the data format wants them."""
        wanted = self.case.checked.dataset
        images = np.ascontiguousarray(np.moveaxis(images, -1, 1) if self.first else images, np.float32)
        return (images / np.float32(255) - np.float32(wanted.mean)) / np.float32(wanted.std)

    def work(self, steps: int) -> None:
        """So many steps; `fit` shuffles what it is given: whole epochs, or the part of one that is still to come."""
        epoch, end = self.case.static.steps_per_epoch, self.done + steps
        while self.done < end:
            begin = self.done % epoch
            taken = min(epoch - begin, end - self.done)
            rows = slice(begin * self.case.batch, (begin + taken) * self.case.batch)
            self.net.fit(self.images[rows], self.labels[rows], batch_size=self.case.batch, verbose=0)
            self.done += taken

    def accuracies(self) -> list[float]:
        """Of the one run, on the test set."""
        logits = self.net.predict(self._placed(self.case.dataset.test_images), batch_size=500, verbose=0)
        return [float(np.mean(logits.argmax(-1) == self.case.dataset.test_labels))]


def keras_net(case: Case, keras, channels_first: bool):
    """The network as a Keras user writes it; drawn by glorot_uniform, as the case must have it.

    Raises:
      ValueError: the case has what is not written here.
    """
    spec, of = case.static.model, keras.layers
    plain = all(
        (block.activation, block.pool, block.norm, block.padding) == ("relu", "max", "none", "same")
        for block in spec.blocks
    )
    if not plain or spec.kernel_init != "keras" or case.checked.optimizer.name != "adam":
        raise ValueError(f"{case.workload}: keras_net has 'same' convolutions, ReLU, maxima, glorot_uniform, Adam only")
    height, width, channels = case.static.image_shape
    parts = [of.Input((channels, height, width) if channels_first else (height, width, channels))]
    for block in spec.blocks:
        parts.append(of.Conv2D(block.filters, block.kernel, block.stride, "same", activation="relu"))
        parts.append(of.MaxPooling2D(block.pool_size))
    parts.append(of.Flatten())
    parts += [of.Dense(layer.units, activation="relu") for layer in spec.dense]
    return keras.Sequential([*parts, of.Dense(spec.classes)])
