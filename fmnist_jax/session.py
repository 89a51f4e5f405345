"""One process's work on one group: train between checkpoints, write metric rows, finish with results on disk."""

import dataclasses
import time
from pathlib import Path

import jax
import numpy as np

from fmnist_jax import checkpoint, config, experiment, metrics, population, sharding, writers
from fmnist_jax.data import Dataset
from fmnist_jax.data.splits import Split
from fmnist_jax.errors import RunError
from fmnist_jax.population import Inputs, Population, Units
from fmnist_jax.signals import Signals
from fmnist_jax.terminal import LiveLine, Progress

CHUNK_SECONDS = 1.0  # how often the live line moves and a signal is seen; no result depends on it


class Interrupted(Exception):
    """A signal asked to stop; everything is saved."""

    def __init__(self, signum: int, step: int):
        super().__init__(f"stopped at step {step:,}, all saved; the same command goes on from there")
        self.signum = signum


@dataclasses.dataclass(frozen=True)
class Run:
    """One training."""

    arm: str
    seed: int
    fold: int


@dataclasses.dataclass(frozen=True, eq=False)
class Group:
    """Runs that share a compiled program."""

    name: str
    static: experiment.Static
    runs: tuple[Run, ...]
    hyper: experiment.Hyper  # leaves [R, ...]
    split: Split


@dataclasses.dataclass
class Timing:
    """Seconds and images of one process at one group."""

    wall_seconds: float = 0.0
    compile_seconds: float = 0.0
    images: int = 0


def train_group(group: Group, dataset: Dataset, directory: Path, settings: config.Experiment, line: LiveLine) -> None:
    """Trains a group to its end, from its newest checkpoint if there is one, and writes `directory`/done.json.

    Raises:
      Interrupted: on SIGINT or SIGTERM, after a checkpoint.
    """
    directory.mkdir(parents=True, exist_ok=True)
    _Session(group, dataset, directory, settings, line).run()


class _Session:
    """One process's work on a group: segments are dispatched one ahead of the reading of their metrics."""

    def __init__(self, group: Group, dataset: Dataset, directory: Path, settings: config.Experiment, line: LiveLine):
        self.start = time.perf_counter()
        self.group, self.dataset, self.directory, self.settings, self.line = group, dataset, directory, settings, line
        static = group.static
        devices = sharding.devices_for(len(group.runs), settings.population.devices)
        mode = population.choose_mode(settings.population.mode, static, jax.default_backend())
        self.population = Population(static, len(group.runs), devices, mode)
        self.inputs = _inputs(self.population, group, dataset)
        self.checkpoints = checkpoint.Checkpoints(directory / "checkpoints", settings.checkpoint.keep)
        self.progress = Progress(
            group.name, len(group.runs), static.total_steps, static.steps_per_epoch, static.batch_size
        )
        self.timing = Timing()
        sessions = directory / "sessions"
        sessions.mkdir(exist_ok=True)
        self.timing_path = sessions / f"{len(list(sessions.glob('*.json')))}.json"
        self.test_inputs = None  # not read before the end
        self.pending = None  # (step, state, training sums, evaluated sums) whose metrics are not read yet
        self.segments = 0

    def run(self) -> None:
        state, step = self._restore()
        self.first_step = step
        self.ready_at, self.counted_from = time.perf_counter(), None
        self.line.update(self.progress)
        self.rows = writers.RowWriter(self.directory / "metrics.jsonl", step)
        with Signals() as signals:
            state, step = self._train(state, step, signals)
        self._read_pending(last=True)
        self.line.update(self.progress)
        self.checkpoints.close()
        self._finish(state)
        self.rows.close()

    def _restore(self):
        template = self.population.shapes(_seeds(self.group), self.group.hyper)
        if (found := self.checkpoints.restore(template)) is None:
            return self.population.init(self.inputs), 0
        step, state = found
        self._check_rows(step)
        return self.population.put(state), step

    def _check_rows(self, step: int) -> None:
        """Every evaluation up to a checkpoint has its rows on the disk, or someone has damaged the file."""
        static, path = self.group.static, self.directory / "metrics.jsonl"
        wanted = step if step == static.total_steps else step // static.eval_every * static.eval_every
        there = sum(row["step"] == wanted for row in writers.read_rows(path))
        if wanted and there != len(self.group.runs):
            raise RunError(
                f"{path}: {there} rows of step {wanted:,}, there should be {len(self.group.runs)}; "
                f"put the file back, or remove {self.directory} to train again"
            )

    def _train(self, state, step: int, signals: Signals):
        static = self.group.static
        chunk, previous = 1, None  # the first chunk compiles; the second finds out how long a step takes
        while step < static.total_steps:
            segment_end = min((step // static.eval_every + 1) * static.eval_every, static.total_steps)
            epoch_end = (step // static.steps_per_epoch + 1) * static.steps_per_epoch
            steps = min(chunk, segment_end - step, epoch_end - step)
            state = self.population.segment(state, self.inputs, step, steps)
            step += steps
            dispatched = (step, steps, state.map(lambda part: part.step))
            self._read_pending()
            if step == segment_end:
                state = self._close_segment(state, step)
            if previous is not None:
                chunk = self._measure(*previous)
            previous = dispatched
            self.checkpoints.poll()
            if signals.received:
                self._stop(state, step, signals.received)
        return state, step

    def _measure(self, step: int, steps: int, token: Units) -> int:
        """Waits for a dispatched chunk, moves the live line, and says how many steps the next should have."""
        jax.block_until_ready(token.parts)
        now = time.perf_counter()
        seconds, self.ready_at = now - self.ready_at, now
        self.progress.step = step
        working = now - self.population.compile_seconds
        if self.counted_from is None:
            self.counted_from = step, working
        else:
            images = (step - self.counted_from[0]) * self.group.static.batch_size * len(self.group.runs)
            self.progress.images_per_second = images / (working - self.counted_from[1])
        self.line.update(self.progress)
        return int(np.clip(steps * CHUNK_SECONDS / seconds, 1, 4 * steps))

    def _close_segment(self, state, step: int):
        """Dispatches the evaluation of a segment; its metrics are read after the next has been dispatched."""
        inputs, evaluated = self.inputs, {}
        if self.group.split.validation.shape[1]:
            evaluated["validation"] = self._evaluate(state, inputs.validation, inputs.validation_size)
        if self.settings.evaluation.test_curves:
            evaluated["test"] = self._predict_test(state)[0]
        sums = state.map(lambda part: part.sums)
        state = self.population.close_segment(state)
        self.pending = (step, state, sums, evaluated)
        return state

    def _evaluate(self, state, indices, sizes):
        inputs = self.inputs
        return self.population.evaluate(state, inputs.hyper, inputs.images, inputs.labels, indices, sizes)[0]

    def _predict_test(self, state):
        """The only reader of the test set."""
        population, dataset = self.population, self.dataset
        if self.test_inputs is None:
            indices = np.tile(np.arange(len(dataset.test_labels), dtype=np.int32), (population.runs, 1))
            sizes = np.full(population.runs, len(dataset.test_labels), np.int32)
            self.test_inputs = (
                population.share(dataset.test_images),
                population.share(dataset.test_labels),
                population.put(indices),
                population.put(sizes),
            )
        return population.evaluate(state, self.inputs.hyper, *self.test_inputs)

    def _read_pending(self, last: bool = False) -> None:
        """Metric rows of the segment whose evaluation was dispatched earlier: to the file first, then a checkpoint."""
        if self.pending is None:
            return
        step, state, sums, evaluated = self.pending
        self.pending = None
        self.segments += 1
        self.progress.step = max(self.progress.step, step)
        sums = self.population.get(sums)
        diverged_at = self.population.get(state.map(lambda part: part.diverged_at))
        columns = {
            "train_loss": sums.loss / sums.steps,
            "train_accuracy": sums.correct / (sums.steps * self.group.static.batch_size),
        }
        for split, split_sums in evaluated.items():
            finals = metrics.finalise(self.population.get(split_sums))
            columns |= {f"{split}_{k}": v for k, v in finals.items() if v.ndim == 1}
        self.rows.write(
            {
                **dataclasses.asdict(run),
                "dataset": self.dataset.name,
                "step": step,
                "epoch": step / self.group.static.steps_per_epoch,
                **{name: float(values[i]) for name, values in columns.items()},
                "diverged_at": int(diverged_at[i]) if diverged_at[i] >= 0 else None,
            }
            for i, run in enumerate(self.group.runs)
        )
        ranking = float("nan")
        if "validation" in evaluated:
            accuracy = columns["validation_accuracy"]
            ranking = float(np.mean(accuracy))
            self.progress.validation = f"validation {100 * ranking:.2f}%"
            if len(accuracy) > 1:
                self.progress.validation += f" ± {100 * np.std(accuracy, ddof=1):.2f}"
        if last or self.segments % self.settings.checkpoint.every == 0:
            self._save(step, state, ranking)

    def _save(self, step: int, state, ranking: float) -> None:
        self.checkpoints.save(step, self.population.get(state), ranking)
        self._write_timing(step)

    def _write_timing(self, step: int) -> None:
        self.timing.images = (step - self.first_step) * self.group.static.batch_size * len(self.group.runs)
        self.timing.compile_seconds = self.population.compile_seconds
        self.timing.wall_seconds = time.perf_counter() - self.start
        writers.write_json(self.timing_path, dataclasses.asdict(self.timing))

    def _stop(self, state, step: int, signum: int) -> None:
        self._read_pending()
        if self.checkpoints.newest != step:
            self._save(step, state, float("nan"))
        self.checkpoints.close()
        self.rows.close()
        raise Interrupted(signum, step)

    def _finish(self, state) -> None:
        """Test metrics and predictions, then done.json: a group with that file is never trained again."""
        sums, predictions = self._predict_test(state)
        finals, predictions = metrics.finalise(self.population.get(sums)), self.population.get(predictions)
        diverged_at = self.population.get(state.map(lambda part: part.diverged_at))
        last = {(r["arm"], r["seed"], r["fold"]): r for r in writers.read_rows(self.directory / "metrics.jsonl")}
        classes = np.uint8 if self.group.static.model.classes <= 256 else np.uint16
        np.savez_compressed(self.directory / "predictions.npz", test=predictions.astype(classes))
        self._write_timing(self.group.static.total_steps)
        results = []
        for i, run in enumerate(self.group.runs):
            row = {**last[(run.arm, run.seed, run.fold)], **{f"test_{name}": v[i] for name, v in finals.items()}}
            row["diverged_at"] = int(diverged_at[i]) if diverged_at[i] >= 0 else None
            # Finite weights can still be too large for a finite loss; then the last update is where it broke.
            if row["diverged_at"] is None and not all(_finite(v) for k, v in row.items() if k.endswith("_loss")):
                row["diverged_at"] = self.group.static.total_steps
            results.append(row)
        facts = {"mode": self.population.mode, "devices": len(self.population.devices)}
        writers.write_json(self.directory / "done.json", {"results": results, **facts})


def _finite(value) -> bool:
    return value is not None and bool(np.isfinite(value))


def _seeds(group: Group) -> np.ndarray:
    return np.array([run.seed for run in group.runs], np.uint32)


def _inputs(population: Population, group: Group, dataset: Dataset) -> Inputs:
    folds = np.array([run.fold for run in group.runs])
    split = group.split
    return Inputs(
        seeds=population.put(_seeds(group)),
        hyper=population.put(group.hyper),
        images=population.share(np.asarray(dataset.train_images)),
        labels=population.share(dataset.train_labels),
        train=population.put(split.train[folds]),
        train_size=population.put(split.train_size[folds]),
        validation=population.put(split.validation[folds]),
        validation_size=population.put(split.validation_size[folds]),
    )


def read_group(directory: Path) -> dict | None:
    """What a finished group came to: results, mode, devices, timing; None while it is not finished."""
    path = directory / "done.json"
    if not path.exists():
        return None
    sessions = [Timing(**writers.read_json(p)) for p in (directory / "sessions").glob("*.json")]
    timing = {f.name: sum(getattr(s, f.name) for s in sessions) for f in dataclasses.fields(Timing)}
    return {**writers.read_json(path), "timing": timing}
