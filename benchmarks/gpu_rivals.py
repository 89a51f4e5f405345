"""Ways to train many runs of one network with PyTorch on an accelerator (or, to try them, on a CPU).

All hold the images as float32 on the device, draw every run's own batches there, and take Adam's step in one kernel
where there is one. torch is imported inside functions: the other benchmarks go without.
"""

import time

import numpy as np

from benchmarks.engine import Engine
from benchmarks.rivals import torch_rival
from benchmarks.rivals.torch_nets import torch_net


class Eager:
    """One run after the other, a step at a time."""

    most = 4  # runs that are made: they take their turn one after the other, so a few stand for all

    def __init__(self, ours: Engine, runs: int, platform: str):
        import torch

        self.torch, self.ours, self.runs = torch, ours, min(runs, self.most)
        dataset, batch = ours.dataset, ours.batch
        self.device = torch.device("cuda" if platform == "gpu" else "cpu")
        torch.manual_seed(0)
        torch.backends.cudnn.benchmark = True
        images = np.moveaxis(np.asarray(dataset.train_images, np.float32) / 255, -1, 1)
        self.images = torch.from_numpy(np.ascontiguousarray(images)).to(self.device)
        self.labels = torch.from_numpy(dataset.train_labels.astype(np.int64)).to(self.device)
        steps = len(self.labels) // batch
        orders = [torch.randperm(len(self.labels), device=self.device) for _ in range(self.runs)]
        self.rows = [order[: steps * batch].view(steps, -1) for order in orders]  # [steps, B] a run
        self.build()

    def build(self) -> None:
        """Networks and optimizers, and what is compiled of them."""
        self.nets = [torch_net(self.ours).to(self.device) for _ in range(self.runs)]
        self.adams = [self.adam(one.parameters()) for one in self.nets]
        self.losses = [self.loss_of(one) for one in self.nets]

    def adam(self, params, **how):
        """Adam as the config has it, in one kernel."""
        return torch_rival.optimizer(self.ours, params, **how)

    def loss_of(self, one):
        """(images, labels) -> mean loss."""
        return lambda images, labels: self.torch.nn.functional.cross_entropy(one(images), labels)

    def step(self, run: int, step: int) -> None:
        """One step of one run."""
        rows = self.rows[run][step % len(self.rows[run])]
        loss = self.losses[run](self.images.index_select(0, rows), self.labels.index_select(0, rows))
        self.adams[run].zero_grad()
        loss.backward()
        self.adams[run].step()

    def train(self, steps: int) -> None:
        """`steps` steps of every run."""
        for run in range(self.runs):
            for step in range(steps):
                self.step(run, step)

    def seconds(self, steps: int) -> float:
        """Of `steps` steps of every run, waited for."""
        self.wait()
        start = time.perf_counter()
        self.train(steps)
        self.wait()
        return time.perf_counter() - start

    def wait(self) -> None:
        """Until the device has done all it was given."""
        if self.device.type == "cuda":
            self.torch.cuda.synchronize()


class Compiled(Eager):
    """The loss of every run through torch.compile."""

    def loss_of(self, one):
        """The compiled loss."""
        return self.torch.compile(super().loss_of(one), dynamic=False)


class Graphs(Eager):
    """The whole step, gathering of the batch included, captured once a run as a CUDA graph and replayed."""

    def build(self) -> None:
        """Captures, after some steps on a stream beside, as PyTorch asks for."""
        if self.device.type != "cuda":
            raise RuntimeError("CUDA graphs need a CUDA device")
        torch = self.torch
        self.nets = [torch_net(self.ours).to(self.device) for _ in range(self.runs)]
        self.adams = [self.adam(one.parameters(), capturable=True) for one in self.nets]
        self.losses = [self.loss_of(one) for one in self.nets]
        self.at = [torch.zeros(1, dtype=torch.int64, device=self.device) for _ in range(self.runs)]
        self.graphs = []
        for run in range(self.runs):
            beside = torch.cuda.Stream()
            beside.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(beside):
                for _ in range(3):
                    self.one(run)
            torch.cuda.current_stream().wait_stream(beside)
            graph = torch.cuda.CUDAGraph()
            self.adams[run].zero_grad(set_to_none=True)
            with torch.cuda.graph(graph):
                self.one(run)
            self.graphs.append(graph)

    def one(self, run: int) -> None:
        """A step whose place in the epoch is on the device, so that a replay goes on where the last one ended."""
        rows = self.rows[run].index_select(0, self.at[run]).view(-1)
        loss = self.losses[run](self.images.index_select(0, rows), self.labels.index_select(0, rows))
        self.adams[run].zero_grad(set_to_none=True)
        loss.backward()
        self.adams[run].step()
        self.at[run].add_(1).remainder_(len(self.rows[run]))

    def step(self, run: int, step: int) -> None:
        """A replay."""
        self.graphs[run].replay()


class Vmapped(Eager):
    """All runs at once by torch.func.vmap over stacked parameters, each with batches of its own."""

    most = 2**20

    def build(self) -> None:
        """Stacks the parameters of all runs; Adam works on them as on any others."""
        from torch.func import functional_call, grad, stack_module_state, vmap

        nets = [torch_net(self.ours).to(self.device) for _ in range(self.runs)]
        self.params, _ = stack_module_state(nets)
        self.stacked = self.torch.stack(self.rows)  # [R, steps, B]
        self.optimizer = self.adam(self.params.values())

        def mean_loss(params, images, labels):
            return self.torch.nn.functional.cross_entropy(functional_call(nets[0], params, (images,)), labels)

        self.grads = self.compiled(vmap(grad(mean_loss), randomness="different"))

    def compiled(self, function):
        """As it is."""
        return function

    def train(self, steps: int) -> None:
        """`steps` steps of all runs."""
        for step in range(steps):
            rows = self.stacked[:, step % self.stacked.shape[1]]
            params = {name: leaf.detach() for name, leaf in self.params.items()}
            for name, found in self.grads(params, self.images[rows], self.labels[rows]).items():
                self.params[name].grad = found
            self.optimizer.step()


class VmappedCompiled(Vmapped):
    """The same, the gradients of all runs through torch.compile."""

    def compiled(self, function):
        """Compiled for these shapes alone."""
        return self.torch.compile(function, dynamic=False)


WAYS = {
    "PyTorch eager": Eager,
    "PyTorch compile": Compiled,
    "PyTorch CUDA graphs": Graphs,
    "PyTorch vmap": Vmapped,
    "PyTorch vmap, compiled": VmappedCompiled,
}


def same_precision(precision: str) -> None:
    """Products of float32 as float32, or through TF32, on both sides, whose own rules differ."""
    import jax
    import torch

    jax.config.update("jax_default_matmul_precision", {"float32": "float32", "tf32": "tensorfloat32"}[precision])
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = precision == "tf32"
