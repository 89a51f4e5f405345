"""What hosts as one do together: a group trained or tested, an arm refitted; the one that leads says what and when."""

import contextlib
import hashlib
import json
import time
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path

import jax
from rich.console import Console

from fmnist_jax import carry, config, memory, refit, session, terminal, testing, workdir, writers
from fmnist_jax.arms import Arm
from fmnist_jax.attempt import Attempt
from fmnist_jax.data import Dataset
from fmnist_jax.errors import RunError, UserError
from fmnist_jax.groups import Workshop
from fmnist_jax.hosts import Hosts
from fmnist_jax.places import Place
from fmnist_jax.programs import Group
from fmnist_jax.signals import listen
from fmnist_jax.store import Disk

TOKEN = ".hosts"  # a file of the workdir, by which they know that it is one
SEEN_SECONDS = 30.0  # until a file that one host has made can be seen from another: NFS remembers that it is not there


class Team:
    """The hosts of a study, which may be one alone."""

    def __init__(
        self, checked: config.Experiment, study_arms: Sequence[Arm], store: Disk, workshop: Workshop, hosts: Hosts
    ):
        self.checked, self.arms, self.store, self.workshop, self.hosts = checked, study_arms, store, workshop, hosts
        self.directory = store.directory

    def compare(self) -> None:
        """Sees to it that all have the same study, versions and devices.

        Raises:
          UserError: they have not; names a host and what differs.
        """
        if self.hosts.count > 1:
            self.hosts.same(self._facts())

    def gather(self) -> None:
        """Lets the others see that this host's workdir, which is there now, is theirs too."""
        if self.hosts.count > 1:
            token = uuid.uuid4().hex
            writers.write_atomically(self.directory / TOKEN, token)
            self.hosts.tell(token)

    def _facts(self) -> dict:
        """What hosts as one must have in common."""
        flat = config.flatten(self.checked)
        found = {f"config.{key}": value for key, value in flat.items() if key not in ("dataset.data_dir", "sweep")}
        names = json.dumps([[arm.name, arm.override] for arm in self.arms], default=str)
        found["config.sweep"] = hashlib.sha256(names.encode()).hexdigest()
        found |= {f"{package}'s version": version for package, version in workdir.environment()["packages"].items()}
        found["the devices"] = [device.device_kind for device in jax.local_devices()]
        found["what JAX's order of hosts differs by"] = jax.process_index() - self.hosts.index
        return found

    def follow(self) -> None:
        """Does this host's part of what the one that leads says, until it says no more; that one keeps what fails.

        A signal is only noted: the host that leads is told of it, and stops all of them.
        """
        with listen() as heard, heard.held():
            if (token := self.hosts.tell()) is None:
                return
            self._see(self.directory / TOKEN, token)
            live = self._quiet()
            while (order := self.hosts.tell()) is not None:
                with contextlib.suppress(testing.Outdated), Attempt():
                    self._obey(order, live)
                memory.release()

    def do(
        self,
        order: dict,
        live: terminal.Live | None = None,
        still_ours: Callable[[], None] = lambda: None,
        places: Sequence[Place] = (),
    ) -> None:
        """Something, on all hosts at once; this is the one that leads.

        Args:
          still_ours: raises Lost where the group is another process's by now, as `session.train_group` has it.
          places: all groups of the study, where one is trained.
        """
        self.hosts.tell(order)
        self._obey(order, live or self._quiet(), still_ours, places)

    def _quiet(self) -> terminal.Live:
        return terminal.Live(Console(quiet=True), self.directory.name, [arm.name for arm in self.arms])

    def _obey(
        self,
        order: dict,
        live: terminal.Live,
        still_ours: Callable[[], None] = lambda: None,
        places: Sequence[Place] = (),
    ) -> None:
        """This host's part of what all of them do now."""
        with self.hosts.work():
            match order:
                case {"train": name}:
                    self._train(self._group(name), live, still_ours, places)
                case {"refit": name}:
                    self._train_refit(next(arm for arm in self.arms if arm.name == name), live)
                case {"test": name, "width": width}:
                    self._test(self._group(name), width, still_ours)
                case _:
                    raise RunError(f"{order}: there is no such order")

    def _group(self, name: str) -> Place:
        """A group, as soon as it is to be seen here."""
        place = Place(self.directory / "groups" / name)
        self._see(place.directory / "group.json")
        return place

    def _train(
        self, place: Place, live: terminal.Live, still_ours: Callable[[], None], places: Sequence[Place]
    ) -> None:
        group = place.build(self.workshop)
        if group.static.carry_over:  # it starts where others ended
            for other in places:
                self.store.fetch(other.directory)
        group = carry.prepared(place, group, places, self.workshop, self.hosts)
        dataset = self._images(group)
        session.train_group(group, dataset, place.directory, self.checked, live, still_ours, self.hosts)

    def _train_refit(self, chosen: Arm, live: terminal.Live) -> None:
        place, settings = refit.place(self.directory), refit.settings(self.checked)
        self._see(place.directory / "group.json")
        group = refit.group(self.workshop, chosen, place.contents)
        dataset = self._images(group)
        session.train_group(group, dataset, place.directory, settings, live, hosts=self.hosts)

    def _test(self, place: Place, width: int, still_ours: Callable[[], None]) -> None:
        group = place.build(self.workshop)
        dataset, everyone = self._images(group), range(len(group.runs))
        directory, hosts = place.directory, self.hosts
        testing.measure_group(group, everyone, dataset, directory, self.checked, width, hosts, still_ours)

    def _images(self, group: Group) -> Dataset:
        """A group's, which must be all hosts'."""
        dataset = self.workshop.dataset(group.source)
        if self.hosts.count > 1:
            self.hosts.same({f"the SHA-256 of {group.source.name}": dataset.fingerprint})
        return dataset

    def _see(self, path: Path, content: str | None = None) -> None:
        """Waits for a file that another host has written."""
        deadline = time.monotonic() + SEEN_SECONDS
        while not path.exists() or (content is not None and path.read_text() != content):
            if time.monotonic() > deadline:
                raise UserError(f"{path}: not to be seen here; --workdir must be on a disk that all hosts see")
            time.sleep(0.1)
