"""PyTorch, one run: float32 images resident in memory, fused optimizer, denormals flushed."""

import numpy as np

from benchmarks.cases import Case
from benchmarks.engine import Engine
from benchmarks.rivals.choices import Choice
from benchmarks.rivals.torch_nets import torch_net


class Resident:
    """A case's images as PyTorch likes them, and batches of them in a new order each epoch."""

    def __init__(self, case: Case, layout: str):
        import torch

        self.torch, self.case, self.last = torch, case, layout == "channels_last"
        if case.task == "train":
            self.images = self.placed(case.dataset.train_images)
            self.labels = torch.from_numpy(case.dataset.train_labels.astype(np.int64))
        self.rows = iter(())

    def placed(self, images):
        """[N, H, W, C] uint8 -> float32, standardised, channels where this layout wants them."""
        images = np.ascontiguousarray(np.moveaxis(images, -1, -1 if self.last else 1), np.float32)
        images /= 255
        wanted = self.case.checked.dataset
        if (wanted.mean, wanted.std) != (0, 1):
            images -= np.float32(wanted.mean)
            images /= np.float32(wanted.std)
        return self.torch.from_numpy(images)

    def viewed(self, images):
        """Images as a network takes them, [B, C, H, W], without a copy."""
        # Of one channel, .to(channels_last) leaves the strides as they are; a permuted view of NHWC does not.
        return images.permute(0, 3, 1, 2) if self.last else images

    def batch(self):
        """The next images [B, C, H, W] and labels [B]; an epoch drops its ragged last batch."""
        rows = next(self.rows, None)
        if rows is None:
            static = self.case.static
            order = self.torch.randperm(len(self.labels))
            self.rows = iter(order[: static.steps_per_epoch * static.batch_size].split(static.batch_size))
            rows = next(self.rows)
        return self.viewed(self.images.index_select(0, rows)), self.labels.index_select(0, rows)

    def tested(self, size: int):
        """The test images, `size` at a time, [B, C, H, W]."""
        images = self.case.dataset.test_images
        return [self.viewed(self.placed(images[i : i + size])) for i in range(0, len(images), size)]


class TorchRun:
    """One run in PyTorch, as a choice has it."""

    def __init__(self, case: Case, choice: Choice, runs: int = 1, place: int = 0, seed: int = 0):
        import torch
        from torch.nn import functional

        torch.set_flush_denormal(True)
        torch.manual_seed(seed)
        torch._dynamo.config.recompile_limit = 100  # every run compiles the same lines anew
        self.torch, self.case, self.choice = torch, case, choice
        self.data = Resident(case, choice.layout)
        self.net = torch_net(case)
        if self.data.last:
            self.net = self.net.to(memory_format=torch.channels_last)
        self.autocast = torch.autocast("cpu", torch.bfloat16, enabled=choice.dtype == "bfloat16")
        if case.task == "train":
            self.optimizer = optimizer(case, self.net.parameters())
            self.loss = lambda images, labels: functional.cross_entropy(self.net(images), labels)
            if choice.compiled:
                self.loss = torch.compile(self.loss, dynamic=False)
        else:
            self._prepare_inference()

    def work(self, steps: int) -> None:
        """So many steps; a step of inference is one batch."""
        self.torch.set_num_threads(self.choice.threads)
        if self.case.task == "infer":
            for i in range(self.done, self.done + steps):
                self.infer(self.pieces[i % len(self.pieces)])
            self.done += steps
            return
        for _ in range(steps):
            self.step(*self.data.batch())

    def step(self, images, labels):
        """One step on float32 [B, C, H, W] and labels [B]: the mean loss before it."""
        with self.autocast:
            loss = self.loss(images, labels)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return loss

    def _prepare_inference(self) -> None:
        """Batch norm goes into the convolution before it, once; compiled, weights are laid out once as well."""
        from torch.fx.experimental import optimization

        self.net = optimization.fuse(self.net.eval())
        if self.data.last:
            self.net = self.net.to(memory_format=self.torch.channels_last)
        self.predict = self.net
        if self.choice.compiled:
            from torch._inductor import config as inductor

            inductor.freezing = True
            self.predict = self.torch.compile(self.net, dynamic=False)
        size = self.choice.batch or self.case.batch
        pieces = self.data.tested(size)
        self.pieces = [piece for piece in pieces if len(piece) == size] or pieces
        self.done = 0

    def infer(self, images):
        """Logits [B, classes] of float32 [B, C, H, W]."""
        # Frozen constants are no inference tensors: torch.compile wants no_grad, which costs the same.
        with self.torch.no_grad() if self.choice.compiled else self.torch.inference_mode(), self.autocast:
            return self.predict(images)

    def accuracies(self) -> list[float]:
        """Of the one run, on the test set."""
        self.net.eval()
        with self.torch.no_grad(), self.autocast:
            predicted = self.torch.cat([self.net(piece).argmax(-1) for piece in self.data.tested(500)])
        self.net.train()
        return [float(np.mean(predicted.numpy() == self.case.dataset.test_labels))]


def optimizer(case: Case | Engine, params, **how):
    """The case's optimizer, fused (the fastest of PyTorch's three). Raises KeyError where there is none."""
    import torch

    hyper, how = case.checked.optimizer, {"fused": True, **how}
    made = {
        "adam": lambda: torch.optim.Adam(params, hyper.learning_rate, (hyper.b1, hyper.b2), hyper.eps, **how),
        "sgd": lambda: torch.optim.SGD(params, hyper.learning_rate, hyper.momentum, **how),
    }
    return made[hyper.name]()
