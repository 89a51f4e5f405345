"""One process's work on one group: train between checkpoints, write metric rows, and say when it is done."""

import contextlib
import dataclasses
import time
import uuid
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np

from fmnist_jax import checkpoint, config, metrics, programs, testing, weights, whitening, writers
from fmnist_jax.data import Dataset
from fmnist_jax.errors import RunError
from fmnist_jax.hosts import ALONE, Hosts
from fmnist_jax.leases import Lost
from fmnist_jax.population import Units
from fmnist_jax.signals import Heard, Interrupted, listen
from fmnist_jax.terminal import Live, Progress

# How often the live line moves and a signal is seen; no result depends on it. A dispatch copies its run's state, which
# with millions of parameters takes as long as a step: where a device takes many runs in turn, each gets half a second.
CHUNK_SECONDS, DISPATCH_SECONDS, MOST_SECONDS = 1.0, 0.5, 5.0


@dataclasses.dataclass
class Timing:
    """Seconds and images of one process at one group."""

    wall_seconds: float = 0.0
    compile_seconds: float = 0.0
    images: int = 0


def train_group(
    group: programs.Group,
    dataset: Dataset,
    directory: Path,
    settings: config.Experiment,
    live: Live,
    still_ours: Callable[[], None] = lambda: None,
    hosts: Hosts = ALONE,
) -> None:
    """Trains a group to its end, from its newest checkpoint if there is one, and writes `directory`/done.json.

    Args:
      still_ours: called before anything is written; raises where another process has taken the group over.
      hosts: which train the group together, each its part of the runs; all of them call this.

    Raises:
      Interrupted: on SIGINT or SIGTERM, of any host, after a checkpoint.
      hosts.Failed: another host could not do its part.
    """
    directory.mkdir(parents=True, exist_ok=True)
    _Session(group, dataset, directory, settings, live, still_ours, hosts).run()


class _Session:
    """One process's work on a group: segments are dispatched one ahead of the reading of their metrics.

    Of several hosts each trains its part of the group, chunk by chunk of the same steps, and the one that leads writes
    what is written of all runs; the others save their part of the checkpoints, and write nothing else.
    """

    def __init__(
        self,
        group: programs.Group,
        dataset: Dataset,
        directory: Path,
        settings: config.Experiment,
        live: Live,
        still_ours: Callable[[], None] = lambda: None,
        hosts: Hosts = ALONE,
    ):
        self.start, self.still_ours, self.hosts = time.perf_counter(), still_ours, hosts
        self.dataset, self.directory, self.settings, self.live = dataset, directory, settings, live
        self.whole = group
        self.group = group = group if hosts.count == 1 else group.part(hosts.share(len(group.runs)))
        self.own = hosts.own(len(self.whole.runs))  # the first of the part; the rest are copies, and count nowhere
        static = group.static
        self.population = programs.population_of(static, len(group.runs), settings)
        images = programs.images_of(self.population, dataset, settings)
        self.inputs = programs.inputs_of(self.population, group, dataset, images)
        self.checkpoints = checkpoint.Checkpoints(directory / "checkpoints", settings.checkpoint.keep, hosts)
        self.progress = Progress(len(self.whole.runs), static.total_steps, static.steps_per_epoch, static.batch_size)
        self.timing = Timing()
        sessions = directory / "sessions"
        sessions.mkdir(exist_ok=True)
        self.timing_path = sessions / f"{uuid.uuid4().hex[:12]}.json"  # of a process that slept there may be another
        self.pending = None  # (step, state, training sums, evaluated sums) whose metrics are not read yet
        self.segments = 0
        self.stopped_at = np.full(len(group.runs), -1)  # as far as read
        self.everyones_stop = np.full(len(self.whole.runs), -1)  # of all hosts' runs

    def run(self) -> None:
        with listen() as heard, heard.held():
            self._run(heard)

    def _run(self, heard: Heard) -> None:
        state, step = self._restore()
        self.first_step = self.progress.first_step = step
        self.ready_at, self.counted_from = time.perf_counter(), None
        self.live.update(self.progress)
        # Without a checkpoint no row stays, not even one of step 0, where runs that are not trained have theirs.
        known = -1 if self.checkpoints.newest is None else step
        self.rows = writers.RowWriter(self.directory / "metrics.jsonl", known) if self.hosts.leads else None
        try:
            state, step = self._train(state, step, heard)
            self._read_pending(last=True)
            self.live.update(self.progress)
        except BaseException as error:
            self._abandon(error)
            if isinstance(error, Exception):
                self.still_ours()  # or it failed because another process is at work on the same files
            raise
        self.checkpoints.close()
        if self.rows:
            self.rows.close()
        self._finish(state, step)

    def _abandon(self, error: BaseException) -> None:
        """Lets go of files and threads; the failure that is under way is the one to report."""
        with contextlib.suppress(*() if isinstance(error, Interrupted) else (Exception,)):
            self.checkpoints.abandon() if isinstance(error, Lost) else self.checkpoints.close()
        with contextlib.suppress(OSError):  # of a full disk, again
            if self.rows:
                self.rows.close()

    def _restore(self):
        template = self.population.shapes(programs.seeds_of(self.group), self.group.hyper)
        if (found := self.checkpoints.restore(template)) is None:
            return self._begin(), 0
        step, state = found
        if self.group.static.early_stop:
            self.stopped_at = state.watch.stopped_at
        self.everyones_stop = self._of_all(self.stopped_at)
        if self.hosts.leads:
            self._check_rows(step)
        return self.population.put(state), step

    def _begin(self) -> Units:
        """The first state of every run: drawn, and then what it starts from put over it."""
        state = self.population.init(self.inputs)
        if self.group.static.weights:
            state = self.population.put(self._from_file(self.population.get(state)))
        if self.group.static.model.whiten:
            whitened = whitening.over(self.population.get(state), self.group, self.dataset.train_images)
            state = self.population.put(whitened)
        if self.group.begin:
            state = self.population.put(self.group.begin(self.population.get(state), np.arange(len(self.group.runs))))
        return state

    def _from_file(self, state):
        """A host state with the weights of the file that the runs start from; what was loaded goes to weights.json."""
        source = self.group.static.weights
        loaded = weights.load(source, weights.of_one(state))
        facts = {"weights": source, "file": str(loaded.path), "sha256": loaded.sha256, "fresh": loaded.fresh}
        if self.hosts.leads:
            writers.write_json(self.directory / "weights.json", facts)
        if loaded.fresh:
            self.live.say(f"{source}: of another number of classes; {', '.join(loaded.fresh)} are drawn anew")
        return weights.over(state, loaded)

    def _check_rows(self, step: int) -> None:
        """Every evaluation up to a checkpoint has its rows on the disk, or someone has damaged the file."""
        static, path = self.group.static, self.directory / "metrics.jsonl"
        there = Counter(row["step"] for row in writers.read_rows(path))
        evaluated = list(range(static.eval_every, step + 1, static.eval_every))
        if step == static.total_steps and step not in evaluated:
            evaluated.append(step)
        for wanted in evaluated:
            expected = int(np.sum((self.everyones_stop < 0) | (self.everyones_stop >= wanted)))
            if there[wanted] != expected:
                raise RunError(
                    f"{path}: {there[wanted]} rows of step {wanted:,}, there should be {expected}; "
                    f"put the file back, or remove {self.directory} to train again"
                )

    def _train(self, state, step: int, heard: Heard):
        static = self.group.static
        if not static.total_steps and self.checkpoints.newest is None:
            state = self._close_segment(state, step)  # what the runs start from is all there is to measure
        chunk, previous = 1, None  # the first chunk compiles; the second finds out how long a step takes
        while step < static.total_steps and not np.all(self.everyones_stop >= 0):
            segment_end = min((step // static.eval_every + 1) * static.eval_every, static.total_steps)
            epoch_end = (step // static.steps_per_epoch + 1) * static.steps_per_epoch
            steps = min(chunk, segment_end - step, epoch_end - step)
            state = self.population.segment(state, self.inputs, step, steps, self.stopped_at >= 0)
            step += steps
            dispatched = (step, steps, state.map(lambda part: part.step))
            self._read_pending()
            if step == segment_end:
                state = self._close_segment(state, step)
            if previous is not None:
                chunk = self._measure(*previous)
            previous = dispatched
            self.checkpoints.poll()
            chunk, received = self.hosts.agree([chunk, heard.received], _slowest_and_any)
            if received:
                self._stop(state, step, received)
        if heard.received and self.hosts.count == 1:  # where there was no step to make
            self._stop(state, step, heard.received)
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
            images = (step - self.counted_from[0]) * self.group.static.batch_size * len(self.whole.runs)
            self.progress.images_per_second = images / (working - self.counted_from[1])
        self.live.update(self.progress)
        in_turn = len(self.population.unit_devices) / len(self.population.devices)
        wanted = min(max(CHUNK_SECONDS, DISPATCH_SECONDS * in_turn), MOST_SECONDS)
        return int(np.clip(steps * wanted / seconds, 1, 4 * steps))

    def _close_segment(self, state, step: int):
        """Dispatches the evaluation of a segment; its metrics are read after the next has been dispatched."""
        inputs, evaluated = self.inputs, {}
        if self.group.split.validation.shape[1]:
            evaluated["validation"] = self._evaluate(state, inputs.validation, inputs.validation_size)
        if self.settings.evaluation.test_curves:
            evaluated["test"] = testing.predict_test(self.population, state, inputs.hyper, self.dataset, self.settings)[
                0
            ]
        sums = state.map(lambda part: part.sums)
        state = self.population.close_segment(state, inputs, evaluated.get("validation"))
        self.pending = (step, state, sums, evaluated)
        return state

    def _evaluate(self, state, indices, sizes):
        inputs = self.inputs
        return self.population.evaluate(state, inputs.hyper, inputs.images, inputs.labels, indices, sizes)[0]

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
        running = self.stopped_at < 0  # a run's rows end with the evaluation that stopped it
        if self.group.static.early_stop:
            self.stopped_at = self.population.get(state.map(lambda part: part.watch.stopped_at))
        columns = {}
        if self.group.static.total_steps:
            steps = np.maximum(sums.steps, 1)  # 0 of a stopped run
            columns["train_loss"] = sums.loss / steps
            columns["train_accuracy"] = sums.correct / (steps * self.group.static.batch_size)
        for split, split_sums in evaluated.items():
            finals = metrics.finalise(self.population.get(split_sums))
            columns |= {f"{split}_{k}": v for k, v in finals.items() if v.ndim == 1}
        rows = [
            {
                **dataclasses.asdict(run),
                "dataset": self.dataset.name,
                "step": step,
                "epoch": step / self.group.static.steps_per_epoch,
                **{name: float(values[i]) for name, values in columns.items()},
                "diverged_at": int(diverged_at[i]) if diverged_at[i] >= 0 else None,
            }
            for i, run in enumerate(self.group.runs[: self.own])
            if running[i]
        ]
        self.still_ours()
        self.checkpoints.wait()  # so that whatever ends this process costs no more than lies between two checkpoints
        if everyones_rows := self.hosts.gather(rows):
            rows = [row for of_one in everyones_rows for row in of_one]
            self.rows.write(rows)
            self.live.add(rows)
        if self.group.static.early_stop:
            self.everyones_stop = self._of_all(self.stopped_at)
        ranking = float("nan")
        if "validation" in evaluated:
            accuracy = self._of_all(columns["validation_accuracy"])
            ranking = float(np.mean(accuracy))
            if len({run.arm for run in self.whole.runs}) == 1:
                self.progress.validation = f"validation {100 * ranking:.2f}%"
                if len(accuracy) > 1:
                    self.progress.validation += f" ± {100 * np.std(accuracy, ddof=1):.2f}"
        if last or self.segments % self.settings.checkpoint.every == 0:
            self._save(step, state, ranking)

    def _save(self, step: int, state, ranking: float) -> None:
        self.still_ours()
        self.checkpoints.save(step, self.population.get(state), ranking)
        self._write_timing(step)

    def _of_all(self, values: np.ndarray) -> np.ndarray:
        """Values of this host's runs -> those of every host's, on all of them."""
        return np.array(
            self.hosts.agree(values[: self.own].tolist(), lambda all_: [v for of_one in all_ for v in of_one])
        )

    def _write_timing(self, step: int) -> None:
        if not self.hosts.leads:
            return
        reached = np.where(self.everyones_stop >= 0, self.everyones_stop, step)
        steps = np.maximum(reached - self.first_step, 0).sum()
        self.timing.images = int(steps) * self.group.static.batch_size
        self.timing.compile_seconds = self.population.compile_seconds
        self.timing.wall_seconds = time.perf_counter() - self.start
        writers.write_json(self.timing_path, dataclasses.asdict(self.timing))

    def _stop(self, state, step: int, signum: int) -> None:
        self._read_pending()
        if self.checkpoints.newest != step:
            self._save(step, state, float("nan"))
        self.checkpoints.wait()
        raise Interrupted(signum, step)

    def _finish(self, state, step: int) -> None:
        """done.json: a group with that file is never trained again."""
        diverged_at = self._of_all(self.population.get(state.map(lambda part: part.diverged_at)))
        measured_at = None
        if self.group.static.keep_best:
            measured_at = self._of_all(self.population.get(state.map(lambda part: part.watch.best_step)))
        if not self.hosts.leads:
            return
        index = {dataclasses.astuple(run): i for i, run in enumerate(self.whole.runs)}
        measured: dict[int, dict] = {}
        for row in writers.read_rows(self.directory / "metrics.jsonl"):
            i = index[_run_of(row)]
            if measured_at is None or row["step"] == measured_at[i]:
                measured[i] = row  # without a choice, the last
        self.still_ours()
        self._write_timing(step)
        results = []
        for i in range(len(self.whole.runs)):
            row = measured[i]
            row["diverged_at"] = _or_none(diverged_at[i])
            row["stopped_at"] = _or_none(self.everyones_stop[i])
            # Finite weights can still be too large for a finite loss; then the last update is where it broke.
            if row["diverged_at"] is None and not all(_finite(v) for k, v in row.items() if k.endswith("_loss")):
                row["diverged_at"] = self.group.static.total_steps
            results.append(row)
        devices = len(self.population.devices) * self.group.static.mesh * self.hosts.count
        facts = {"mode": self.population.mode, "devices": devices}
        writers.write_json(self.directory / "done.json", {"results": results, "step": step, **facts})


def _slowest_and_any(found: list) -> list:
    """Of everyone's (steps of the next chunk, signal): the fewest, so that none waits long; and one, if there is."""
    return [min(chunk for chunk, _ in found), max(signum for _, signum in found)]


def _or_none(step) -> int | None:
    return int(step) if step >= 0 else None


def _finite(value) -> bool:
    return value is not None and bool(np.isfinite(value))


def read_group(directory: Path) -> dict | None:
    """What a trained group came to: results (with the test set's, once read), mode, devices, timing; or None.

    Not cheap for a group of thousands of runs: their confusion matrices are among the results.
    """
    path = directory / "done.json"
    if not path.exists():
        return None
    sessions = [Timing(**writers.read_json(p)) for p in (directory / "sessions").glob("*.json")]
    timing = {f.name: sum(getattr(s, f.name) for s in sessions) for f in dataclasses.fields(Timing)}
    done = writers.read_json(path)
    if (directory / "test.json").exists():
        tested = {_run_of(row): row for row in writers.read_json(directory / "test.json")["results"]}
        for row in done["results"]:
            row.update(tested.get(_run_of(row), {}))
            if row["diverged_at"] is None and "test_loss" in row and not _finite(row["test_loss"]):
                row["diverged_at"] = row["step"]
    return {**done, "timing": timing}


def _run_of(row: dict) -> tuple:
    return row["arm"], row["seed"], row["fold"]
