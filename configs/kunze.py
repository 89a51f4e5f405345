"""How many hidden units, and filters of what size, does a small net need; and does it hang on its first weights?

Source: Kunze, Pütz and Ginter 2019, "Fashion MNIST" (MIRI-KMLMM, UPC Barcelona), and what seems to be its code,
    github.com/MammutimEis/Neural_Network_Fashion_MNIST. Parts: units (Figures 6 to 8), crash (800 units at 1e-3),
    reading (both again without the two things that the code has and the text has not), init (the initial deviation,
    0.5 in the paper, on the other axis), filters (Figure 9), sizes (Figure 10), classical (its comparison with other
    classifiers); by name alone, of its future work, augmentation and deeper.
Command: python -m fmnist_jax.main --config=configs/kunze.py   (kunze.py:quick, kunze.py:full, kunze.py:units,quick ...)
Cost: 600 runs in 53 min on two cores with other work beside, 11 of it for classical classifiers.
Expect: validation accuracy 34, 45, 40, 61, 56, 39, 28, 20 and 19% with 3 to 800 units (n 10), all nets of 800 units at
    chance at 1e-3; CNNs 82% with one filter to 88% with 20 (n 5); 4 of its 16 claims replicated: docs/replication.md.
"""

from fmnist_jax import claims, exhibits, sweep
from fmnist_jax import config as base

TOPICS = ("units", "crash", "reading", "init", "filters", "sizes", "classical")
FUTURE = ("augmentation", "deeper")
PARTS = (*TOPICS, *FUTURE, "quick", "full")
FULL_STEPS, QUICK_STEPS = (15_000, 10_000), (3_000, 1_000)  # of dense nets, of CNNs
UNITS = (3, 4, 5, 10, 20, 50, 100, 200, 800)
QUICK_UNITS = (3, 5, 10, 100)
# What the code has beside the text: centred images, and a ReLU on the outputs of dense nets. Any of it may be left out.
READINGS = {
    "ReLU on the outputs alone": {"dataset.centre": False, "model.logits_activation": "relu"},
    "centred images alone": {"dataset.centre": True, "model.logits_activation": "none"},
    "neither": {"dataset.centre": False, "model.logits_activation": "none"},
}
WIDTHS = (3, 5, 10, 20, 50, 100, 200)  # for the initial deviation
STDDEVS = (0.05, 0.15, 0.5)  # 0.5 is the paper's
FILTERS = (1, 2, 5, 10, 15, 20, 32)
SIZES = (2, 3, 5, 7, 10)


def get_config(part=""):
    topics, scale = base.asked(part, (*TOPICS, *FUTURE), default=TOPICS)
    config = base.default()
    config.question = "How many hidden units, and how many filters of what size, does a small net need?"
    config.dataset.validation_fraction = 1 / 12  # 5,000 images
    config.dataset.centre = True
    config.stratified = False  # "unbalanced"
    config.model.kernel_init = "truncated_normal"
    config.model.init_stddev = 0.5
    config.train.batch_size = 32
    config.train.eval_every = "50 steps"
    config.checkpoint.every = 40
    config.evaluation.batch_size = 250
    config.writers.statistics = True
    config.seeds = 5
    config.paper.title = "Fashion MNIST"
    config.paper.reference = "Kunze, Pütz, Ginter. MIRI-KMLMM, Universitat Politècnica de Catalunya, 2019"
    config.paper.notes = NOTES
    steps, repeats = FULL_STEPS, 10 if scale == "" else 5
    if scale == "quick":
        steps, config.seeds, repeats = QUICK_STEPS, 3, 3
        config.train.eval_every, config.checkpoint.every = "100 steps", 20
        config.paper.notes += (QUICK,)
    config.paper.parts = tuple(_parts(topics, scale, steps, repeats))
    config.paper.exhibits = tuple(one for topic in topics for one in EXHIBITS.get(topic, ()))
    config.claims = tuple(one for topic in topics for one in _claims(topic, scale))
    return config


def _parts(topics, scale, steps, repeats):
    """The studies that the topics need; `steps` of dense nets and of CNNs."""
    mlp = {"model.family": "mlp", "seeds": repeats, "train.duration": f"{steps[0]} steps"}
    mlp["model.logits_activation"] = "relu"
    cnn = {
        "model.filters": (32,),
        "model.kernel": (3,),
        "model.padding": ("valid",),
        "model.pool": ("none",),
        "model.norm": ("none",),
        "model.dense": (),
        "train.duration": f"{steps[1]} steps",
    }
    if arms := [arm for topic in topics for arm in DENSE.get(topic, ())]:
        yield {"part": "dense", "question": "How many hidden units?", **mlp, "sweep": sweep.union(arms)}
    if "crash" in topics or "reading" in topics:
        asks = {"question": "Do 800 units crash at a learning rate of 1e-3?", "seeds": 10}  # fewer could not tell
        yield {"part": "crash", **mlp, **asks, "sweep": (CRASH,)}
    if "reading" in topics:
        del mlp["model.logits_activation"]
        asks = {"question": "What if the images are as they are, or the outputs linear?", **mlp}
        arms = [dense(n) for n in _units(scale)]
        yield {"part": "reading", **asks, "sweep": sweep.product(sweep.named(READINGS), arms)}
        asks["seeds"] = 3 if scale == "quick" else 10
        yield {"part": "reading-crash", **asks, "sweep": sweep.product(sweep.named(READINGS), (CRASH,))}
        mlp["model.logits_activation"] = "relu"
    if arms := [arm for topic in topics for arm in CNN.get(topic, ())]:
        yield {"part": "cnn", "question": "How many filters, and of what size?", **cnn, "sweep": sweep.union(arms)}
    if "classical" in topics:  # after the nets: the SVM takes longer than all of them
        yield {
            "part": "classical",
            "question": "Are the nets better than classical classifiers?",
            **mlp,
            "model.dense": (5,),
            "dataset.centre": False,
            "seeds": min(repeats, 5),
            "references": ("svm", "random_forest", "logistic_regression", "k_nearest"),
            "reference_images": 2500 if scale == "quick" else 0,
        }
    for topic in FUTURE:
        if topic in topics:
            yield {"part": topic, "question": QUESTIONS[topic], **cnn, "sweep": sweep.named(NETS[topic])}


def _units(scale):
    """Of the other readings."""
    return QUICK_UNITS if scale == "quick" else UNITS


def dense(units, stddev=0.5):
    """An arm of the dense net, at the paper's learning rate: 1e-3, with more than 50 units 1e-4."""
    rate = 1e-4 if units > 50 else 1e-3
    return {"model.dense": (units,), "model.init_stddev": stddev, "optimizer.learning_rate": rate}


def filters(number=32, size=3):
    """An arm of the CNN."""
    return {"model.filters": (number,), "model.kernel": (size,)}


CRASH = {"model.dense": (800,), "optimizer.learning_rate": 1e-3}
DENSE = {
    "units": tuple(dense(n) for n in UNITS),
    "crash": (dense(800),),
    "init": tuple(dense(n, s) for s in STDDEVS for n in WIDTHS),
    "reading": tuple(dense(n) for n in UNITS),
    "classical": (dense(5),),
}
CNN = {
    "filters": tuple(filters(n) for n in FILTERS),
    "sizes": tuple(filters(size=n) for n in SIZES),
    "classical": (filters(size=2),),
}
DEEP = {"model.filters": (32, 64), "model.pool": ("max",), "model.dense": (128,)}
QUESTIONS = {
    "augmentation": "Do noise, luminance and contrast make a more robust classifier?",
    "deeper": "What do more layers, pooling, dense layers and dropout bring?",
}
NETS = {
    "augmentation": {
        "as it is": {},
        "noise": {"augment.ops": ("noise",)},
        "luminance": {"augment.ops": ("brightness",)},
        "contrast": {"augment.ops": ("contrast",)},
        "all three": {"augment.ops": ("noise", "brightness", "contrast")},
    },
    "deeper": {
        "one layer": {},
        "pooling": {"model.pool": ("max",)},
        "two layers": {"model.filters": (32, 64), "model.pool": ("max",)},
        "and a dense one": DEEP,
        "and dropout": {**DEEP, "model.dense_dropout": (0.5,)},
    },
}

NOTES = (
    "The protocol is that of a public code that fits the text in all it says (TensorFlow 1.12, truncated normal "
    "weights of deviation 0.5, batches of 32, JSON every 50 steps). Beside the text it has three things, here too: "
    "each image less its own mean, clipped at three standard deviations; a ReLU on the outputs of the dense nets, not "
    "of the CNNs; 5,000 validation images. Part reading leaves the first two out, singly and both.",
    "The centred images are rounded to 256 levels; the code draws batches from a buffer of 10,000 images, here of all.",
    "It was one run an arm there; n is given with each number here. Intervals are over seeds, and leave out that "
    "another validation set would move all arms by a point.",
    "The filter size of Figure 9 is not stated: 3 here. Adam's epsilon is 1e-7 here, TensorFlow's was 1e-8.",
)
QUICK = (
    "Quick: a fifth of the steps for dense nets and a tenth for CNNs (3,000 and 1,000), three seeds, evaluated every "
    "100 steps, reference classifiers on 2,500 images. A net that starts with weights as large as here is then far "
    "from its end: accuracies are lower, so that claims about values fail for that alone, and the order of many and "
    "few units may be another. With three seeds most verdicts are inconclusive; no curve gets to step 4,000."
)

VALIDATION = {"metric": "validation_accuracy"}
PAPER = {"part": "dense", "init_stddev": 0.5}
ANY_RATE = {"learning_rate": [1e-3, 1e-4]}
IN_NET, IN_CNN = "section 4.1.1, ", "section 4.2, "


def _claims(topic, scale):
    if topic == "reading":
        return (one for name in READINGS for one in _of_reading(name, _units(scale)))
    return CLAIMS.get(topic, ())


def _of_reading(name, units):
    """K2 and K3, asked of one of the other readings."""
    many, few = [n for n in units if n > 20], [n for n in units if 5 <= n <= 20]
    return (
        claims.less(
            f"K2: {name}",
            {"dense": many, "learning_rate": [1e-3, 1e-4] if 50 in many else 1e-4},
            {"dense": few, "learning_rate": 1e-3},
            where={"part": "reading", "variant": name},
            source="more than 20 units are worse",
            ours=True,
            **VALIDATION,
        ),
        claims.fails(
            f"K3: {name}",
            share=0.5,
            below=0.2,
            where={"part": "reading-crash", "variant": name},
            source="800 units at 1e-3 crash",
            ours=True,
            **VALIDATION,
        ),
    )


CLAIMS = {
    "units": (
        claims.about(
            "K1",
            0.65,
            within=0.03,
            where={**PAPER, "dense": [5, 10]},
            each="dense",
            quote="the models with 5 nodes and 10 nodes achieve an accuracy of around 65%",
            source=IN_NET + "Figure 6",
            paper="0.65",
            **VALIDATION,
        ),
        claims.about(
            "K1",
            0.30,
            within=0.05,
            where={**PAPER, "dense": 3},
            quote="For 3 nodes the accuracy drops to 30%",
            source=IN_NET + "Figure 8",
            paper="0.30",
            **VALIDATION,
        ),
        claims.about(
            "K1",
            0.50,
            within=0.05,
            where={**PAPER, "dense": 4},
            quote="and for 4 nodes to around 50%",
            source=IN_NET + "Figure 8",
            paper="0.50",
            **VALIDATION,
        ),
        claims.best_is(
            "K1",
            {"dense": 5, "learning_rate": 1e-3},
            where=PAPER,
            quote="The 5 hidden layer neuron neural network has the lowest loss",
            source=IN_NET + "Figure 7",
            paper="5 units",
            metric="validation_loss",
        ),
        claims.less(
            "K2",
            {"dense": [50, 100, 200, 800], **ANY_RATE},
            {"dense": [5, 10, 20], "learning_rate": 1e-3},
            where=PAPER,
            quote="Using more than 20 nodes also results in significantly worse results",
            source=IN_NET + "Figure 8",
            paper="5 and 10 units are the best",
            **VALIDATION,
        ),
    ),
    "crash": (
        claims.fails(
            "K3",
            share=0.5,
            below=0.2,
            where={"part": "crash"},
            quote="After that the model predicts totally random outputs and is not able to recover",
            source=IN_NET + "Figure 6",
            paper="800 units",
            **VALIDATION,
        ),
        claims.fails(
            "K3",
            share=0.5,
            below=0.2,
            where={"part": "crash", "step": 4000},
            quote="This happens to the 800 hidden neuron model before it reaches training step 4000",
            source=IN_NET + "Figure 6",
            paper="before step 4,000",
            **VALIDATION,
        ),
        claims.greater(
            "K3",
            {"part": "dense", "learning_rate": 1e-4},
            {"part": "crash", "learning_rate": 1e-3},
            where={"dense": 800, "init_stddev": 0.5},
            quote="Changing the learning rate of the Adam optimizer solves this problem",
            source=IN_NET + "Figure 6",
            paper="1e-4 cures it",
            **VALIDATION,
        ),
    ),
    "init": (
        claims.all_equivalent(
            "K2",
            "init_stddev",
            within=0.02,
            where={"part": "dense", "dense": list(WIDTHS), **ANY_RATE},
            quote="Different weight initializations do not show much effect as long as the weights are initialized "
            "randomly",
            source=IN_NET + "first paragraph",
            paper="not shown",
            **VALIDATION,
        ),
        claims.interacts(
            "K2: initial deviation",
            ["dense", "init_stddev"],
            where={"part": "dense", "dense": [5, 10, 20, 50], "learning_rate": 1e-3},
            source="the number of units matters more or less by the initial deviation",
            ours=True,
            **VALIDATION,
        ),
        claims.greater(
            "K2: initial deviation",
            {"dense": [100, 200], "learning_rate": 1e-4},
            {"dense": [5, 10], "learning_rate": 1e-3},
            where={"part": "dense", "init_stddev": 0.05},
            source="with small initial weights many units are better than few",
            ours=True,
            **VALIDATION,
        ),
    ),
    "filters": (
        claims.at_least(
            "K4",
            0.8,
            where={"part": "cnn", "kernel": 3},
            each="filters",
            quote="All models achieve scores of over 80% even if only one filter is used",
            source=IN_CNN + "Figure 9",
            paper="over 0.80",
            **VALIDATION,
        ),
        claims.all_equivalent(
            "K4",
            "filters",
            within=0.08,  # its own range: it calls that no big influence
            where={"part": "cnn", "kernel": 3},
            quote="the number of filters does not have a big influence on the performance of our model",
            source=IN_CNN + "Figure 9",
            paper="0.80 to 0.88",
            **VALIDATION,
        ),
        claims.best_is(
            "K4",
            {"filters": 15},
            where={"part": "cnn", "kernel": 3},
            quote="The top score is 88% for a CNN with 15 filters",
            source=IN_CNN + "Figure 9",
            paper="0.88",
            **VALIDATION,
        ),
    ),
    "sizes": (
        claims.decreases_with(
            "K5",
            "kernel",
            where={"part": "cnn", "filters": 32},
            quote="Reducing the filter size helps to improve the performance slightly",
            source=IN_CNN + "Figure 10",
            paper="slightly",
            **VALIDATION,
        ),
    ),
    "classical": (
        claims.about(
            "K6",
            0.659,
            within=0.01,
            where={**PAPER, "dense": 5},
            quote="The dense model with 5 hidden neurons has an accuracy of 0.659",
            source="section 5",
            paper="0.659",
        ),
        claims.about(
            "K6",
            0.890,
            within=0.01,
            where={"part": "cnn", "filters": 32, "kernel": 2},
            quote="the CNN models with 32 filters and a filter size of two has a score of 0.890",
            source="section 5",
            paper="0.890",
        ),
        claims.greater(
            "K6",
            {"part": "cnn", "filters": 32, "kernel": 2, "dense": "none"},
            {"part": "dense", "dense": 5, "init_stddev": 0.5, "learning_rate": 1e-3},
            quote="The scores of the CNNs are persistently higher even with suboptimal tuned hyperparameters",
            source="section 5",
            paper="0.890 against 0.659",
        ),
    ),
}

LINES = [exhibits.line(str(n), {"dense": n}) for n in UNITS]
STEPS = {"x": "step"}
ACCURACY = exhibits.panel("validation accuracy", "validation_accuracy", unit="share")
BY_UNITS = {
    "factor": "dense",
    "metric": "validation_accuracy",
    "unit": "share",
    "log": True,
    "x_label": "hidden units",
    "y_label": "validation accuracy",
}


def _variants(topic):
    """A table of a topic of the future work."""
    columns = [
        exhibits.column(heading, f"{split}_accuracy", unit="share")
        for heading, split in (("Validation accuracy", "validation"), ("Test accuracy", "test"))
    ]
    rows = [exhibits.row(name, {"variant": name}) for name in NETS[topic]]
    where = {"part": topic}
    title = QUESTIONS[topic]
    return exhibits.table(topic, title, labels=[""], rows=rows, columns=columns, where=where, source="Future work")


IN_TEXT = [(3, 0.30), (4, 0.50), (5, 0.65), (10, 0.65)]  # units, accuracy
EXHIBITS = {
    **{topic: (_variants(topic),) for topic in FUTURE},
    "units": (
        exhibits.curves(
            "figure_6",
            "Accuracy after each 50 training steps on the validation set for different number of hidden units",
            lines=LINES,
            panels=[ACCURACY],
            where=PAPER,
            source="Figure 6",
            **STEPS,
        ),
        exhibits.curves(
            "figure_7",
            "Loss after each 50 training steps on the validation set for different number of hidden units",
            lines=LINES,
            panels=[exhibits.panel("validation loss", "validation_loss", log=True)],
            where=PAPER,
            source="Figure 7",
            **STEPS,
        ),
        exhibits.against(
            "figure_8",
            "Final accuracy on the validation set in dependence of the number of nodes",
            lines=[exhibits.line("ours", paper=IN_TEXT)],
            **BY_UNITS,
            where=PAPER,
            source="Figure 8",
            note="The paper's points are those that its text gives.",
        ),
    ),
    "crash": (
        exhibits.curves(
            "crash",
            "800 hidden units at two learning rates",
            lines=[
                exhibits.line("1e-3", {"part": "crash"}),
                exhibits.line("1e-4", {"part": "dense", "dense": 800, "init_stddev": 0.5}),
            ],
            panels=[
                exhibits.panel("validation accuracy", "validation_accuracy", unit="share"),
                exhibits.panel("training loss", "train_loss", log=True),
            ],
            source="Section 4.1.1",
            x="step",
        ),
    ),
    "reading": (
        exhibits.against(
            "figure_8_reading",
            "Figure 8 again, with the images as they are, with linear outputs, and with both",
            lines=[
                exhibits.line("centred images and a ReLU on the outputs (the code's)", PAPER, paper=IN_TEXT),
                *(exhibits.line(name, {"part": "reading", "variant": name}) for name in READINGS),
            ],
            **BY_UNITS,
            source="Figure 8, as the text may be read",
        ),
        exhibits.curves(
            "crash_reading",
            "800 hidden units at a learning rate of 1e-3",
            lines=[
                exhibits.line("centred images and a ReLU on the outputs (the code's)", {"part": "crash"}),
                *(exhibits.line(name, {"part": "reading-crash", "variant": name}) for name in READINGS),
            ],
            panels=[ACCURACY],
            source="The crash, as the text may be read",
            **STEPS,
        ),
    ),
    "init": (
        exhibits.against(
            "initial_deviation",
            "The same, for three standard deviations of the initial weights",
            lines=[
                exhibits.line(f"{s:g}" + (" (the paper's)" if s == 0.5 else ""), {"init_stddev": s}) for s in STDDEVS
            ],
            **BY_UNITS,
            where={"part": "dense", "dense": list(WIDTHS)},
            source="Initial deviation, beside the paper",
        ),
        exhibits.heatmap(
            "units_x_deviation",
            "Validation accuracy over hidden units and initial deviation",
            factors=("dense", "init_stddev"),
            metric="validation_accuracy",
            where={"part": "dense", "dense": list(WIDTHS)},
            source="Heat map, beside the paper",
        ),
    ),
    "filters": (
        exhibits.curves(
            "figure_9",
            "Accuracy after each 50 training steps on the validation set for different number of filters",
            lines=[exhibits.line(str(n), {"filters": n}) for n in FILTERS],
            panels=[ACCURACY],
            where={"part": "cnn", "kernel": 3},
            source="Figure 9",
            **STEPS,
        ),
    ),
    "sizes": (
        exhibits.curves(
            "figure_10",
            "Accuracy after each 50 training steps on the validation set for different size of the filters",
            lines=[exhibits.line(f"{n} x {n}", {"kernel": n}) for n in SIZES],
            panels=[ACCURACY],
            where={"part": "cnn", "filters": 32},
            source="Figure 10",
            note="The number of filters was 32 in all runs.",
            **STEPS,
        ),
    ),
    "classical": (
        exhibits.table(
            "test_set",
            "The best configurations, and classical classifiers, on the test set",
            labels=["Classifier"],
            rows=[
                exhibits.row("Dense, 5 hidden units", {**PAPER, "dense": 5}, paper={"Accuracy": 0.659}),
                exhibits.row(
                    "CNN, 32 filters of size 2",
                    {"part": "cnn", "filters": 32, "kernel": 2},
                    paper={"Accuracy": 0.890},
                ),
                exhibits.row("SVM, polynomial kernel", {"reference": "svm"}, paper={"Accuracy": 0.897}),
                exhibits.row("Random forest", {"reference": "random_forest"}),
                exhibits.row("Logistic regression", {"reference": "logistic_regression"}),
                exhibits.row("k nearest neighbours", {"reference": "k_nearest"}),
            ],
            columns=[exhibits.column("Accuracy", "test_accuracy", unit="share")],
            source="Section 5",
            note="The paper quotes 0.897 from Zalando's benchmark. Classifiers of scikit-learn have the same training "
            "images (quick: 2,500 of them), each pixel standardised, as that benchmark does.",
        ),
    ),
}
