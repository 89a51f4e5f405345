"""Are more filters, hidden units and layers better, and does it hang on a learning rate that the paper does not report?

Source: Sánchez Acosta and Norambuena 2018, "The relevance of hyper-parameters in convolutional neural networks". Parts:
    grid (Tables 1 and 2), pooling (Table 3), dropout (Figure 4), rate (the learning rate, of one and of two convolution
    layers, also in ten passes over the data), tuned (Table 1 again at a rate that trains them all); by name alone, of
    its future work, activation, error, size, online, hidden, between.
Command: python -m fmnist_jax.main --config=configs/acosta.py   (acosta.py:quick, acosta.py:full, acosta.py:dropout ...)
Cost: 230 runs in 2 h 20 min on two cores with other work beside; :quick in 3 min 30 s.
Expect: one convolution layer 77.0%, two 72.9% at a rate of 0.01, 82.2 and 81.3% at 0.1 (n 5, over six nets); maximum
    pooling one point ahead of average; 7 of its 14 claims replicated: docs/replication.md.
"""

from fmnist_jax import claims, exhibits, sweep
from fmnist_jax import config as base
from fmnist_jax.errors import UserError

TOPICS = ("grid", "pooling", "dropout", "rate", "tuned")
FUTURE = ("activation", "error", "size", "online", "hidden", "between")
PARTS = (*TOPICS, *FUTURE, "quick", "full")
FILTERS, UNITS = (32, 64), (256, 512, 1024)
DROPOUT = (0.0, 0.2, 0.4, 0.6, 0.8, 0.95)
# Learning rate x steps: far below the largest stable rate, plain SGD gets as far with few large steps as with many.
REACH = (0.6, 1.8, 6.0, 18.0, 60.0, 180.0)
FURTHER = (600.0, 2000.0)  # that only 20,000 steps can reach
LOW, HIGH = 6.0, 60.0  # where the paper's order of one and two layers is seen, and where all nets are trained

FULL = {"batch": 500, "steps": 20_000, "seeds": 5, "timed": 20, "longer": 0}
LONGER, LONGER_BATCH = 30_000, 20  # of as many images, steps of few reach further
LONGER_RATES = (0.01, 0.03, 0.1, 0.2)
SCALES = {
    "full": FULL,
    "": {**FULL, "batch": 100, "steps": 600, "longer": LONGER},
    "quick": {**FULL, "batch": 20, "steps": 300, "seeds": 2, "timed": 5},
}
LAYERS = {32: 1, 64: 1, (32, 32): 2, (64, 64): 2}
FIRST = {32: 32, 64: 64, (32, 32): 32, (64, 64): 64}
IN_FIRST = "filters in layer 1"
SECOND = {32: 0, 64: 0, (32, 32): 32, (64, 64): 64}


def get_config(part=""):
    topics, scale = base.asked(part, (*TOPICS, *FUTURE), default=TOPICS)
    at = SCALES[scale]
    arms, small = _arms(at["batch"], at["steps"], at["longer"]), scale == "quick"
    config = base.default()
    config.question = "What do filters, hidden units, layers, pooling and dropout do to a CNN trained by plain SGD?"
    config.dataset.validation_fraction = 0.0
    config.model.kernel = (5,)
    config.model.pool = ("average",)
    config.model.norm = ("none",)
    config.model.dense = (1024,)
    config.model.dense_dropout = (0.2,)
    config.optimizer.name = "sgd"
    config.optimizer.learning_rate = arms.rate(LOW)
    config.train.batch_size = at["batch"]
    config.train.duration = f"{at['steps']} steps"
    config.train.eval_every = "5%"
    config.seeds = at["seeds"]
    config.paper.title = (
        "The relevance of hyper-parameters in convolutional neural networks: a case study with Fashion-MNIST"
    )
    config.paper.reference = "Sánchez Acosta, Norambuena. Universidad Católica del Norte, 2018"
    config.paper.notes = NOTES + ((_scaled(at),) if at is not FULL else ())
    parts = []
    if asked := [arm for topic in topics for arm in arms.of_topic(topic, small)]:
        timed = {"evaluation.timed_steps": at["timed"]} if "grid" in topics else {}
        parts.append({"part": "paper", "question": config.question, "sweep": sweep.union(asked), **timed})
    if at["longer"] and "rate" in topics:
        asks = {"question": "Does the order of one and two layers turn in longer training?"}
        longer = {"train.duration": f"{at['longer']} steps", "train.batch_size": LONGER_BATCH}
        parts.append({"part": "longer", **asks, **longer, "sweep": arms.one_and_two(LONGER_RATES)})
    for topic in FUTURE:
        if topic in topics:
            rates = {"optimizer.learning_rate": tuple(arms.rate(reach) for reach in REACH[-3:])}
            asks = {"question": QUESTIONS[topic], "model.filters": (32,), "model.dense": (256,)}
            parts.append({"part": topic, **asks, "sweep": sweep.product(_future(topic, at), rates)})
    if not parts:
        raise UserError("--config: acosta.py:tuned has no scale quick; leave one of them out")
    config.paper.parts = tuple(parts)
    config.paper.exhibits = tuple(one for topic in topics for one in arms.exhibits(topic, small))
    config.claims = tuple(one for topic in topics for one in arms.claims(topic, small))
    return config


class _arms:
    """The arms, claims and exhibits of a run of so many steps of a batch; of some also `longer`."""

    def __init__(self, batch, steps, longer):
        self.batch, self.steps, self.longer = batch, steps, longer
        self.reach = REACH + (FURTHER if steps == FULL["steps"] else ())

    def rate(self, reach):
        """The learning rate that gets so far in the steps there are."""
        return float(f"{reach / self.steps:.3g}")

    def net(self, layers=1, filters=64, units=1024, pool="average", dropout=0.2, reach=LOW):
        """An arm; by default the paper's best."""
        return {
            "model.filters": (filters,) * layers,
            "model.dense": (units,),
            "model.pool": (pool,),
            "model.dense_dropout": (dropout,),
            "optimizer.learning_rate": self.rate(reach),
        }

    def grid(self, reach):
        return [self.net(n, f, u, reach=reach) for n in (1, 2) for f in FILTERS for u in UNITS]

    def of_topic(self, topic, small):
        """The arms a topic needs; `small`: those beside the paper's grid with the smallest net."""
        least = {"filters": 32, "units": 256} if small else {}
        return {
            "grid": self.grid(LOW),
            "tuned": [] if small else self.grid(HIGH),
            "pooling": [self.net(pool=pool, **least) for pool in ("average", "max")],
            "dropout": [self.net(dropout=rate, **least) for rate in DROPOUT],
            "rate": self.one_and_two([self.rate(reach) for reach in self.reach]),
        }.get(topic, [])

    def one_and_two(self, rates):
        """The smallest nets of one and of two convolution layers."""
        return [{**self.net(n, 32, 256), "optimizer.learning_rate": rate} for n in (1, 2) for rate in rates]

    def where(self, reach, **more):
        """The grid's arms at a learning rate."""
        return {"part": "paper", "pool": "average", "dense_dropout": 0.2, "learning_rate": self.rate(reach), **more}

    def claims(self, topic, small):
        """What the paper claims of a topic."""
        best = {"filters": 32, "dense": 256} if small else {"filters": 64, "dense": 1024}
        if topic == "grid":
            return (*_of_grid(self.where(LOW)), *_of_time(self.where(LOW)))
        if topic == "tuned" and not small:
            return _of_grid(self.where(HIGH), tuned=True)
        if topic == "pooling":
            return (
                claims.greater(
                    "A5",
                    {"pool": "average"},
                    {"pool": "max"},
                    where={"part": "paper", "dense_dropout": 0.2, "learning_rate": self.rate(LOW), **best},
                    quote="a better accuracy for the first strategy is observed",
                    source="Table 3",
                    paper="0.918 against 0.893",
                ),
            )
        if topic == "dropout":
            where = {"part": "paper", "pool": "average", "learning_rate": self.rate(LOW), **best}
            return (
                claims.decreases_with(
                    "A6",
                    "dense_dropout",
                    where=where,
                    metric="train_accuracy",
                    quote="as the dropout probability increases, the accuracy on the training set decreases",
                    source="Figure 4",
                ),
                claims.rises_then_falls(
                    "A6",
                    "dense_dropout",
                    where=where,
                    quote="increasing the probability of dropout increases accuracy, until it reaches a point where it "
                    "begins to decrease",
                    source="Figure 4",
                ),
                claims.metric_greater(
                    "A6",
                    "test_accuracy",
                    "train_accuracy",
                    some="dense_dropout",
                    where=where,
                    quote="There is even a moment where the accuracy for the test set becomes higher than that of the "
                    "training",
                    source="Figure 4",
                ),
            )
        if topic == "rate" and self.longer:
            return (
                claims.greater(
                    "A3, ten passes over the data",
                    {"filters": (32, 32)},
                    {"filters": 32},
                    where={"part": "longer", "learning_rate": LONGER_RATES[-1]},
                    source=f"two layers ahead of one after {self.longer:,} steps of {LONGER_BATCH} images",
                    ours=True,
                ),
            )
        return ()

    def exhibits(self, topic, small):
        """The tables and figures of a topic."""
        best = {"filters": 32, "dense": 256} if small else {"filters": 64, "dense": 1024}
        if topic == "grid":
            return (_table_1(self.where(LOW)), _table_2(self.where(LOW)))
        if topic == "tuned":
            return () if small else (_table_1(self.where(HIGH), "_tuned"), _table_2(self.where(HIGH), "_tuned"))
        if topic == "pooling":
            where = {"part": "paper", "dense_dropout": 0.2, "learning_rate": self.rate(LOW), **best}
            net = ("1", f"{best['filters']}", "-", f"{best['dense']}")
            rows = (("Average", "average", 0.918), ("Maximum", "max", 0.893))
            printed = {} if small else {name: {"Accuracy": accuracy} for name, _, accuracy in rows}
            return (
                exhibits.table(
                    "table_3",
                    "Pooling criterion comparison",
                    labels=[*HEADINGS, "Pooling strategy"],
                    rows=[
                        exhibits.row([*net, name], {"pool": pool}, paper=printed.get(name)) for name, pool, _ in rows
                    ],
                    columns=[exhibits.column("Accuracy", "test_accuracy", unit="share")],
                    where=where,
                    source="Table 3",
                ),
            )
        if topic == "dropout":
            return (
                exhibits.against(
                    "figure_4",
                    "Dropout behavior graph",
                    factor="dense_dropout",
                    lines=[
                        exhibits.line("training set", metric="train_accuracy"),
                        exhibits.line("test set", metric="test_accuracy"),
                    ],
                    unit="share",
                    x_label="dropout probability",
                    y_label="accuracy",
                    where={"part": "paper", "pool": "average", "learning_rate": self.rate(LOW), **best},
                    source="Figure 4",
                    note="Training accuracy is measured with dropout, as the net is trained, over the last twentieth "
                    "of its steps; it lags behind a net that still gets better.",
                ),
            )
        if topic == "rate":
            return (
                exhibits.against(
                    "learning_rate",
                    "One and two convolution layers against the learning rate that the paper does not report",
                    factor="learning_rate",
                    lines=[
                        exhibits.line(f"{name}, {steps:,} steps of {batch}", {"filters": filters, "part": part})
                        for part, steps, batch in (
                            ("paper", self.steps, self.batch),
                            ("longer", self.longer, LONGER_BATCH),
                        )
                        for name, filters in (("1 layer", 32), ("2 layers", (32, 32)))
                        if steps
                    ],
                    unit="share",
                    log=True,
                    x_label="learning rate",
                    y_label="test accuracy",
                    where={"dense": 256, "pool": "average", "dense_dropout": 0.2},
                    source="Not in the paper",
                    note="32 filters, 256 hidden units. Plain SGD gets as far as rate x steps says: the paper's 20,000 "
                    f"steps at a rate are {self.steps:,} at {20_000 / self.steps:.3g} times that rate.",
                ),
            )
        where = {"part": topic}
        metric = [
            exhibits.column(
                f"rate {self.rate(r):g}", "test_accuracy", unit="percent", where={"learning_rate": self.rate(r)}
            )
            for r in REACH[-3:]
        ]
        rows = [exhibits.row(name, {"variant": name}) for name in NETS.get(topic, SCALED.get(topic, ()))]
        title = QUESTIONS[topic]
        return (
            exhibits.table(topic, title, labels=[""], rows=rows, columns=metric, where=where, source="future work"),
        )


MORE_UNITS = (
    "an increase in the number of neurons in the hidden layer or filters in the convolution layer leads to better "
)
MORE_UNITS += "accuracy"


def _of_grid(where, tuned=False):
    """A1 to A3 and A7 at a learning rate; at one that the paper's order is not seen at, they are ours."""

    def said(name, quote, source, paper=""):
        if tuned:
            return {"name": f"{name}, all nets trained", "source": source, "ours": True, "where": where}
        return {"name": name, "quote": quote, "source": source, "paper": paper, "where": where}

    of_layers, of_first = {"numbers": LAYERS, "called": "convolution layers"}, {"numbers": FIRST, "called": IN_FIRST}
    strong = "the number of convolutional layers is strongly correlated with accuracy in a negative way"
    second = "The number of filters in layer 2 also affects the accuracy significantly"
    fewer = "an increase in the number of convolution layers leads to a decrease in accuracy"
    return (
        claims.increases_with(factor="dense", **said("A1", MORE_UNITS, "Table 1")),
        claims.increases_with(factor="filters", **of_first, **said("A2", MORE_UNITS, "Table 1")),
        claims.decreases_with(
            factor="filters", **of_layers, **said("A3", fewer, "Table 1", "0.62 to 0.77 against 0.82 to 0.92")
        ),
        claims.correlation(
            factor="filters", sign="negative", **of_layers, **said("A7", strong, "Table 2", "-0.89, layers")
        ),
        claims.correlation(
            factor="filters", sign="positive", **of_first, **said("A7", "", "Table 2", "0.24, filters in layer 1")
        ),
        claims.correlation(
            factor="filters",
            sign="negative",
            numbers=SECOND,
            called="filters in layer 2",
            **said("A7", second, "Table 2", "-0.72, filters in layer 2"),
        ),
        claims.correlation(factor="dense", sign="positive", **said("A7", "", "Table 2", "0.35, hidden units")),
    )


def _of_time(where):
    more = {"where": where, "source": "Table 1", "metric": "alone_seconds"}
    return (
        claims.increases_with(
            "A4",
            "dense",
            quote="the increase in the number of neurons present in the hidden layer, in each of the cases, implied an "
            "increase in training time",
            **more,
        ),
        claims.increases_with(
            "A4",
            "filters",
            numbers=FIRST,
            called=IN_FIRST,
            quote="the increase in the number of filters used in the convolution layers also leads to an increase in "
            "training time",
            **more,
        ),
        claims.decreases_with(
            "A4",
            "filters",
            numbers=LAYERS,
            called="convolution layers",
            quote="The number of convolution layers, on the other hand, produces a reduction in training time",
            **more,
        ),
    )


HEADINGS = (
    "Number of convolutional layers",
    "Number of filters in layer 1",
    "Number of filters in layer 2",
    "Number of neurons in the hidden layer",
)
TIMES = ("0:41:32", "0:55:23", "1:14:42", "0:52:15", "1:18:36", "1:44:23")
TIMES += ("0:31:25", "0:40:49", "0:52:21", "0:34:56", "0:46:03", "0:57:26")
ACCURACIES = (0.815, 0.853, 0.869, 0.842, 0.870, 0.918, 0.623, 0.682, 0.731, 0.702, 0.722, 0.771)


def _table_1(where, suffix=""):
    nets = [(n, f, u) for n in (1, 2) for f in FILTERS for u in UNITS]
    rows = [
        exhibits.row(
            [n, f, "-" if n == 1 else f, u],
            {"filters": (f,) * n, "dense": u},
            paper={} if suffix else {"Training time": time, "Accuracy": accuracy},
        )
        for (n, f, u), time, accuracy in zip(nets, TIMES, ACCURACIES, strict=True)
    ]
    time = exhibits.column("Training time", "alone_seconds", unit="duration")
    accuracy = exhibits.column("Accuracy", "test_accuracy", unit="share")
    return exhibits.table(
        "table_1" + suffix,
        "Performance of the different CNNs comparison"
        + (", at a learning rate that trains all nets" if suffix else ""),
        labels=HEADINGS,
        rows=rows,
        columns=[accuracy] if suffix else [time, accuracy],
        where=where,
        source="Table 1" + (", not in the paper at this rate" if suffix else ""),
        note="" if suffix else "Training time is that of a run alone on this machine, for the steps of this study.",
    )


def _table_2(where, suffix=""):
    columns = [
        exhibits.column(heading, "test_accuracy", of="correlation", factor=factor, numbers=numbers, digits=2)
        for heading, factor, numbers in zip(
            HEADINGS, ("filters", "filters", "filters", "dense"), (LAYERS, FIRST, SECOND, None), strict=True
        )
    ]
    paper = dict(zip(HEADINGS, (-0.89, 0.24, -0.72, 0.35), strict=True))
    return exhibits.table(
        "table_2" + suffix,
        "Correlation coefficient" + (", at a learning rate that trains all nets" if suffix else ""),
        labels=[""],
        rows=[exhibits.row("Accuracy", paper={} if suffix else paper)],
        columns=columns,
        where=where,
        source="Table 2" + (", not in the paper at this rate" if suffix else ""),
    )


QUESTIONS = {
    "activation": "Which activation function?",
    "error": "Squared error or cross entropy?",
    "size": "Which filter size?",
    "online": "Online or in batches, with as many images?",
    "hidden": "How many hidden layers in the dense network?",
    "between": "A dense layer between the two convolutional layers?",
}
TWO = {"model.filters": (32, 32)}
NETS = {
    "activation": {
        name: {"model.activation": (name.lower(),), "model.dense_activation": (name.lower(),)}
        for name in ("ReLU", "softmax", "tanh", "sigmoid")
    },
    "error": {"cross entropy": {}, "squared error": {"loss.name": "mean_squared_error"}},
    "size": {f"{n} x {n}": {"model.kernel": (n,)} for n in (3, 5, 7, 9)},
    "hidden": {"none": {"model.dense": (), "model.dense_dropout": ()}}
    | {f"{n}": {"model.dense": (256,) * n} for n in (1, 2, 3)},
    "between": {"two convolutions": TWO, "with a dense layer between": {**TWO, "model.bridge": 4}},
}
SCALED = {"online": ("online: 1 image", "10 images", "100 images", "500 images")}


def _future(topic, at):
    if topic != "online":
        return sweep.named(NETS[topic])
    images = at["batch"] * at["steps"]
    sizes = zip(SCALED["online"], (1, 10, 100, 500), strict=True)
    return sweep.named({name: {"train.batch_size": n, "train.duration": f"{images // n} steps"} for name, n in sizes})


NOTES = (
    "The paper reports neither learning rate nor initialisation, padding or momentum. Here: Glorot's initialisation, "
    "'same' padding, no momentum, and the learning rate swept: Tables 1 to 3 and Figure 4 are at one at which the "
    "paper's order of one and two layers is seen; the tables are repeated at one that trains all nets.",
    "Training time is of a single run alone on this machine: some steps of each arm, timed one after the other in "
    "shuffled rounds, times the steps of this study; the paper's is of 20,000 steps of 500 on another machine.",
    "All 60,000 training images are trained on, and arms are compared on the test set, as in the paper; nothing is "
    "chosen by it here.",
)


def _scaled(at):
    return (
        f"Scaled down: {at['steps']:,} steps of {at['batch']} images, where the paper has 20,000 of 500. Rates are "
        f"chosen so that rate x steps is as with 20,000 steps at {at['steps'] / 20_000:g} times the rate; smaller "
        "batches make noisier steps, and fewer steps allow less large a reach. "
        f"In passes over the images that is {at['steps'] * at['batch'] / 60_000:.2g}: too little to overfit, and what "
        "dropout is against has hardly begun."
        + (" Pooling and dropout are asked of the smallest net." if at["steps"] == SCALES["quick"]["steps"] else "")
    )
