"""This engine as a contender: a population, all runs at once, on every device, in long segments."""

import jax
import numpy as np

from benchmarks.cases import Case
from fmnist_jax import forms, metrics, population, sharding

INFERRED = 4  # batches of a call of inference


class Ours:
    """The population engine on a case; its work is counted in steps of a batch of each run."""

    def __init__(self, case: Case, seed: int = 0, mode: str = "auto"):
        self.case, self.runs, self.step, self.batch = case, case.runs, 0, case.batch
        self.chunk = INFERRED if case.task == "infer" else 1
        mode = forms.choose_mode(mode, case.static)
        self.population = pop = population.Population(case.static, self.runs, sharding.devices_for(self.runs, 0), mode)
        size = len(case.dataset.train_labels)
        self.inputs = population.Inputs(
            seeds=pop.put(np.arange(seed, seed + self.runs, dtype=np.uint32)),
            hyper=pop.put(jax.tree.map(lambda leaf: np.repeat(leaf[None], self.runs, axis=0), case.hyper)),
            images=pop.share(np.asarray(case.dataset.train_images)),
            labels=pop.share(case.dataset.train_labels),
            train=pop.put(np.tile(np.arange(size, dtype=np.int32), (self.runs, 1))),
            train_size=pop.put(np.full(self.runs, size, np.int32)),
            validation=pop.put(np.zeros((self.runs, 0), np.int32)),
            validation_size=pop.put(np.zeros(self.runs, np.int32)),
        )
        self.state = pop.init(self.inputs)
        self.tested = None  # what is inferred, put on the devices once

    def warm(self) -> None:
        """Compiles."""
        self.work(self.chunk)

    def work(self, steps: int) -> None:
        """So many steps of every run, of inference a multiple of `chunk`; returns when they are done."""
        (self._infer if self.case.task == "infer" else self._train)(steps)

    def _train(self, steps: int) -> None:
        epoch, end = self.case.static.steps_per_epoch, self.step + steps
        while self.step < end:
            steps = min(end, (self.step // epoch + 1) * epoch) - self.step
            self.state = self.population.segment(self.state, self.inputs, self.step, steps)
            self.step += steps
        jax.block_until_ready(self.state.parts)

    def _infer(self, batches: int) -> None:
        self.tested = self.tested or self._test_set(INFERRED * self.batch)
        sums = [self.population.evaluate(self.state, *self.tested)[0].parts for _ in range(batches // INFERRED)]
        jax.block_until_ready(sums)

    def _test_set(self, count: int) -> tuple:
        """Arguments of `evaluate` for `count` test images of every run, again from the first where there are fewer."""
        pop, test = self.population, self.case.dataset
        indices = np.resize(np.arange(len(test.test_labels), dtype=np.int32), (self.runs, count))
        images, labels = pop.share(np.asarray(test.test_images)), pop.share(test.test_labels)
        return self.inputs.hyper, images, labels, pop.put(indices), pop.put(np.full(self.runs, count, np.int32))

    def accuracies(self) -> list[float]:
        """Of every run, on the test set."""
        sums, _ = self.population.evaluate(self.state, *self._test_set(len(self.case.dataset.test_labels)))
        return metrics.finalise(self.population.get(sums))["accuracy"].tolist()

    def drop(self) -> None:
        """Lets the images and the states go."""
        self.state = self.inputs = self.tested = None
