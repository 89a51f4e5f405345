"""PyTorch, several runs at once in one process: torch.func.vmap over stacked weights."""

import numpy as np

from benchmarks.cases import Case
from benchmarks.rivals.choices import Choice
from benchmarks.rivals.torch_nets import torch_net
from benchmarks.rivals.torch_rival import Resident


class VmapRuns:
    """`runs` runs of a network without batch norm, as torch.func's guide to model ensembles has it, with Adam.

    The optimizer is PyTorch's fused kernel on the stacked leaves, which is right because Adam works element by element.
    Measured on the net of 10 units: eager 1,230 us a step of 8 runs; with the gradients compiled 340; with an Adam
    written out and compiled with them 370.
    """

    def __init__(self, case: Case, choice: Choice, runs: int, place: int = 0, seed: int = 0):
        import torch
        from torch.nn import functional

        if case.checked.optimizer.name != "adam":
            raise ValueError(f"optimizer.name={case.checked.optimizer.name!r}: only adam is written here")
        torch.set_flush_denormal(True)
        torch._dynamo.config.recompile_limit = 100
        torch.manual_seed(seed)
        self.torch, self.case, self.choice, self.runs = torch, case, choice, runs
        nets = [torch_net(case) for _ in range(runs)]
        stacked, _ = torch.func.stack_module_state(nets)
        self.net, self.data = nets[0], Resident(case, choice.layout)
        self.params = {name: leaf.detach().clone() for name, leaf in stacked.items()}
        leaves = list(self.params.values())
        self.moments = [[torch.zeros_like(leaf) for leaf in leaves] for _ in range(2)]
        self.counts = [torch.zeros(()) for _ in leaves]

        def loss(params, images, labels):
            return functional.cross_entropy(torch.func.functional_call(self.net, params, (images,)), labels)

        self.grads = torch.func.vmap(torch.func.grad_and_value(loss), randomness="different")
        if choice.compiled:
            self.grads = torch.compile(self.grads, dynamic=False)

    def work(self, steps: int) -> None:
        """So many steps of every run, each with an order of its own."""
        self.torch.set_num_threads(self.choice.threads)
        for _ in range(steps):
            images, labels = zip(*(self.data.batch() for _ in range(self.runs)), strict=True)
            self.step(self.torch.stack(images), self.torch.stack(labels))

    def step(self, images, labels):
        """One step on float32 [R, B, C, H, W] and labels [R, B]: the mean losses [R] before it."""
        hyper = self.case.checked.optimizer
        with self.torch.no_grad():
            grads, losses = self.grads(self.params, images, labels)
            self.torch._foreach_add_(self.counts, 1)
            self.torch._fused_adam_(
                list(self.params.values()),
                [grads[name] for name in self.params],
                *self.moments,
                [],
                self.counts,
                lr=hyper.learning_rate,
                beta1=hyper.b1,
                beta2=hyper.b2,
                weight_decay=0.0,
                eps=hyper.eps,
                amsgrad=False,
                maximize=False,
            )
        return losses

    def accuracies(self) -> list[float]:
        """Of every run, on the test set."""
        pieces, labels, found = self.data.tested(500), self.case.dataset.test_labels, []
        self.net.eval()
        with self.torch.no_grad():
            for run in range(self.runs):
                params = {name: leaf[run] for name, leaf in self.params.items()}
                logits = [self.torch.func.functional_call(self.net, params, (piece,)) for piece in pieces]
                found.append(float(np.mean(self.torch.cat(logits).argmax(-1).numpy() == labels)))
        self.net.train()
        return found
