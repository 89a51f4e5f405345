"""Do a lower learning rate, dropout, SoftPool or leaky ReLU help a small CNN, and does halving the learning rate?

Source: Alexander and Oost 2022, "INFOMCV PR4" (Utrecht University). Parts: folds (Figures 1 to 5, Tables 1 and 2), test
    (Figures 6 to 9, Table 3); by name alone slope, which adds the leaky ReLU as the paper prints it.
Command: python -m fmnist_jax.main --config=configs/alexander.py   (alexander.py:quick, alexander.py:folds,full ...)
Cost: 110 runs of ten epochs on 54,000 and 60,000 images in 2 h 31 min on two cores with other work beside (11,000
    images/s without); that is the paper's own scale, and `full` the same.
Expect: validation accuracy 91.3 to 91.8% for all five variants (n 10 folds); test accuracy 91.3% of the baseline, 91.9%
    with the rate halved, a gap of 0.5 points (0.25 to 0.79, n 20); 5 of 14 claims replicated: docs/replication.md.
"""

from fmnist_jax import claims, exhibits, sweep
from fmnist_jax import config as base

TOPICS = ("folds", "test")
PARTS = (*TOPICS, "slope", "quick", "full")
LEAKY = {"model.activation": ("leaky_relu",), "model.dense_activation": ("leaky_relu",), "model.leaky_slope": 0.1}
PRINTED = {key: ("leaky_relu_as_printed",) for key in ("model.activation", "model.dense_activation")}
VARIANTS = {
    "baseline": {},
    "learning rate": {"optimizer.learning_rate": 1e-4},
    "dropout": {"model.dropout": (0.25,), "model.dense_dropout": (0.5,)},
    "softpool": {"model.pool": ("soft",)},
    "leaky ReLU": LEAKY,
}
AS_PRINTED = {"leaky ReLU, as printed": {**LEAKY, **PRINTED}}
HALVED = {"schedule.name": "step", "schedule.factor": 0.5, "schedule.every_epochs": 5.0}
FINAL = {"baseline": {}, "learning rate": VARIANTS["learning rate"], "halved learning rate": HALVED}


def get_config(part=""):
    topics, scale = base.asked(part, (*TOPICS, "slope"), default=TOPICS)
    config = base.default()
    config.question = "Do small changes to a baseline CNN change how well it does?"
    config.train.batch_size = 32
    config.train.duration = "10 epochs"
    config.paper.title = "INFOMCV PR4"
    config.paper.reference = "Alexander, Oost. INFOMCV, Utrecht University, March 2022"
    config.paper.notes = NOTES
    seeds = 20  # the gap that X4 is about is as small as the spread over seeds
    if scale == "quick":
        config.dataset.images, seeds = 2000, 5
        config.paper.notes += (QUICK,)
    variants = {**VARIANTS, **(AS_PRINTED if "slope" in topics else {})}
    folds = {
        "part": "folds",
        "question": "Which variant validates best over ten folds?",
        "sweep": sweep.named(variants),
        "folds": 10,
        "dataset.validation_fraction": 0.1,
        "metric": "validation_accuracy",
        "evaluation.test": "none",
        "selection.weights": "best",  # what the authors wish they had; the curves are of the weights as they went
    }
    test = {
        "part": "test",
        "question": "Which of the final models tests best?",
        "sweep": sweep.named(FINAL),
        "seeds": seeds,
        "dataset.validation_fraction": 0.0,
        "evaluation.test_curves": True,
    }
    wanted = {"folds": folds, "slope": folds, "test": test}
    config.paper.parts = tuple({wanted[topic]["part"]: wanted[topic] for topic in topics}.values())
    shown = dict.fromkeys(name for topic in topics for name in (("folds", "slope") if topic == "slope" else (topic,)))
    config.paper.exhibits = tuple(one for topic in shown for one in EXHIBITS[topic])
    config.claims = tuple(one for topic in shown for one in CLAIMS.get(topic, ()))
    return config


NOTES = (
    "The paper's tests (Table 3) are one run each; here of each as many as n says, enough to tell half a point.",
    "Training accuracy and loss are running means over an epoch, as Keras prints them.",
    "The paper prints the leaky ReLU as -αx for x < 0, a slip: here αx; alexander.py:slope has both.",
    "Folds are stratified; the paper does not say. Dropout of a convolution comes after its batch norm; the paper says "
    "after max-pooling, which batch norm follows here.",
    "What seems to be its code is public (these five names, 10 folds, a list named timeline). It averages each "
    "variant's curves with those of all variants before it, and its SoftPool net pools by maximum; Table 2 is given "
    "both ways. Elsewhere a variant's means are its own, and SoftPool is SoftPool.",
)
QUICK = (
    "Quick: 2,000 of the 60,000 training images, and five runs of each final model. With a thirtieth of the images a "
    "net overfits sooner and validates worse, folds of 200 images scatter more, and small gaps stay inconclusive."
)

FOLDS, TEST = {"part": "folds"}, {"part": "test"}
BASELINE = {"variant": "baseline"}
FIVE = {**FOLDS, "variant": list(VARIANTS)}
VALIDATION, LOSS, LAST = {"metric": "validation_accuracy"}, {"metric": "validation_loss"}, {"epoch": "last"}
RISE = {"epoch": {"from": 3, "to": "last"}}
SETTING, FINALS, PICTURE = "section 3.1, ", "section 3.2, ", "section 3.2, Figure 9"

CLAIMS = {
    "folds": (
        claims.all_equivalent(
            "X1",
            "variant",
            within=0.003,
            where={**FIVE, **LAST},
            quote="All variants didn't appear to significantly change the performance of the models",
            source="section 4; Table 2",
            paper="0.915 to 0.918",
            **VALIDATION,
        ),
        claims.all_equivalent(
            "X1",
            "variant",
            within=0.003,
            where={**FIVE, "epoch": "peak"},
            quote="All the best validation accuracies remain around 91.6-91.9%",
            source="section 4, Table 1",
            paper="0.916 to 0.919",
            **VALIDATION,
        ),
        claims.falls_then_rises(
            "X2",
            "epoch",
            where={**FOLDS, **BASELINE},
            quote="the validation loss starts to go up after epoch 2",
            source=SETTING + "Figure 1",
            paper="from epoch 2 on",
            **LOSS,
        ),
        claims.less(
            "X2",
            {"epoch": "last"},
            {"epoch": 3},
            where={**FOLDS, **BASELINE},
            quote="the training loss continues to drop",
            source=SETTING + "Figure 1",
            paper="continues to drop",
            metric="train_loss",
        ),
        claims.less(
            "X3",
            {"variant": "dropout"},
            BASELINE,
            where={**FOLDS, **RISE},
            quote="the dropout variant validation loss goes up more slowly",
            source=SETTING + "Figure 3",
            paper="more slowly",
            **LOSS,
        ),
        claims.spreads_more(
            "X3",
            {"variant": "dropout"},
            BASELINE,
            where={**FOLDS, **LAST},
            quote="Dropout significantly increases the standard deviation of the performance during training",
            source=SETTING + "Figure 3",
            paper="significantly",
            **VALIDATION,
        ),
    ),
    "test": (
        claims.greater(
            "X4",
            {"variant": "halved learning rate"},
            BASELINE,
            where=TEST,
            quote="the baseline with halved learning rate performs slightly better compared to the other two models",
            source=FINALS + "Table 3",
            paper="0.921 against 0.916",
        ),
        claims.best_is(
            "X4",
            {"variant": "halved learning rate"},
            where=TEST,
            quote="which makes it our best performing model",
            source=FINALS + "Table 3",
            paper="0.921 against 0.916 and 0.915",
        ),
        claims.worst_class(
            "X5",
            "Shirt",
            where={**TEST, **BASELINE},
            quote="Shirts are most frequently misclassified with an accuracy of only 79%",
            source=PICTURE,
            paper="79%",
        ),
        claims.about(
            "X5",
            0.79,
            within=0.03,
            where={**TEST, **BASELINE},
            metric="Shirt_recall",
            quote="In general Shirts are most frequently misclassified with an accuracy of only 79%",
            source=PICTURE,
            paper="79%",
        ),
        claims.about(
            "X5",
            0.991,
            within=0.01,
            where={**TEST, **BASELINE},
            metric="Sandal_recall",
            quote="which is very high",
            source=PICTURE,
            paper="99.1%",
        ),
        claims.most_taken_for(
            "X5",
            "Shirt",
            "T-shirt/top",
            where={**TEST, **BASELINE},
            quote="most of the mistakes it makes are distinguishing Shirt and T-shirt/top",
            source=PICTURE,
        ),
        claims.best_class(
            "X5",
            "Sandal",
            where={**TEST, **BASELINE},
            quote="The model performs the best on Sandals with a accuracy of 99.1%",
            source=PICTURE,
            paper="99.1%",
        ),
        claims.confuses_more(
            "X5",
            ("Pullover", "Coat"),
            ("Coat", "Pullover"),
            where={**TEST, **BASELINE},
            quote="Another common mistake is classifying Pullovers as Coats. Interestingly Coats are not classified as "
            "Pullovers as often",
            source=PICTURE,
        ),
    ),
}


def _panels(first, second):
    return [
        exhibits.panel("accuracy", [f"{first}_accuracy", f"{second}_accuracy"], unit="share"),
        exhibits.panel("loss", [f"{first}_loss", f"{second}_loss"]),
    ]


def _figure(number, title, where, panels):
    return exhibits.curves(
        f"figure_{number}",
        title,
        lines=[exhibits.line(where["variant"], where)],
        panels=panels,
        band="sd",
        source=f"Figure {number}",
    )


def _table(number, title, where, columns, rows, note=""):
    return exhibits.table(
        f"table_{number}",
        title,
        labels=[""],
        rows=[exhibits.row(label, {"variant": v}, paper=paper) for label, v, paper in rows],
        columns=columns,
        paper_n=1 if number == 3 else 10,
        where=where,
        source=f"Table {number}",
        note=note,
    )


def _numbers(*columns):
    """Rows of the paper's table, by its columns."""
    names = ("Baseline", "Variant Learning Rate", "Variant Dropout", "Variant Softpool", "Variant Leaky ReLU")
    of_row = zip(*(values for _, values in columns), strict=True)
    headings = [heading for heading, _ in columns]
    return [
        (name, variant, dict(zip(headings, values, strict=True)))
        for name, variant, values in zip(names, VARIANTS, of_row, strict=True)
    ]


# What the paper's code averages under each name: see NOTES.
POOLED = (
    ["baseline"],
    ["baseline", "learning rate"],
    ["baseline", "learning rate", "dropout"],
    ["baseline"],
    ["baseline", "leaky ReLU"],
)
CLASSES = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")
TRAIN, VALID = "Mean training accuracy", "Mean validation accuracy"
TABLE_2 = _numbers((TRAIN, (0.979, 0.982, 0.958, 0.979, 0.977)), (VALID, (0.915, 0.917, 0.918, 0.915, 0.916)))
EXHIBITS = {
    "slope": (
        exhibits.table(
            "slope",
            "The leaky ReLU as it is meant, and as the paper prints it",
            labels=[""],
            rows=[exhibits.row(v, {"variant": v}) for v in ("baseline", "leaky ReLU", *AS_PRINTED)],
            columns=[
                exhibits.column(TRAIN, "train_accuracy", unit="share"),
                exhibits.column(VALID, "validation_accuracy", unit="share"),
            ],
            where={**FOLDS, **LAST},
            source="Section 2.3, its formula",
        ),
    ),
    "folds": (
        _figure(1, "Baseline Model", {**FOLDS, "variant": "baseline"}, _panels("train", "validation")),
        _figure(2, "Learning Rate Variant", {**FOLDS, "variant": "learning rate"}, _panels("train", "validation")),
        _figure(3, "Dropout Variant", {**FOLDS, "variant": "dropout"}, _panels("train", "validation")),
        _figure(4, "Softpool Variant", {**FOLDS, "variant": "softpool"}, _panels("train", "validation")),
        _figure(5, "Leaky ReLU Variant", {**FOLDS, "variant": "leaky ReLU"}, _panels("train", "validation")),
        _table(
            1,
            "Maximum accuracies over 10 epochs, and the epochs at which they were achieved",
            FOLDS,
            [
                exhibits.column(TRAIN, "train_accuracy", of="peak", by="validation_accuracy", unit="share"),
                exhibits.column(VALID, "validation_accuracy", of="peak", unit="share"),
                exhibits.column("Epoch", "validation_accuracy", of="peak_epoch"),
            ],
            _numbers(
                (TRAIN, (0.974, 0.967, 0.958, 0.975, 0.977)),
                (VALID, (0.918, 0.919, 0.918, 0.917, 0.916)),
                ("Epoch", (9, 7, 10, 9, 9)),
            ),
            "The epoch is that of the best mean over the same folds, which makes its mean a little too good.",
        ),
        _table(
            2,
            "Final accuracies after 10 epochs",
            {**FOLDS, **LAST},
            [
                exhibits.column(TRAIN, "train_accuracy", unit="share"),
                exhibits.column(VALID, "validation_accuracy", unit="share"),
            ],
            TABLE_2,
        ),
        exhibits.table(
            "table_2_pooled",
            "Final accuracies after 10 epochs, each mean over the folds of all variants since the code was started",
            labels=["", "Variants in the mean"],
            rows=[
                exhibits.row([name, ", ".join(pooled)], {"variant": pooled}, paper=paper)
                for (name, _, paper), pooled in zip(TABLE_2, POOLED, strict=True)
            ],
            columns=[
                exhibits.column(TRAIN, "train_accuracy", unit="share"),
                exhibits.column(VALID, "validation_accuracy", unit="share"),
            ],
            paper_n=10,
            where={**FOLDS, **LAST},
            source="Table 2, as its code averages",
            note="Its code never empties the list of histories that it averages, and its SoftPool net pools by "
            "maximum; started twice, with SoftPool and leaky ReLU the second time, it would print this.",
        ),
        exhibits.table(
            "least_loss",
            "With the weights of the epoch that has the least validation loss, each fold its own",
            labels=[""],
            rows=[exhibits.row(name, {"variant": v}) for name, v, _ in _numbers((TRAIN, (0,) * 5))],
            columns=[
                exhibits.column("Epoch", "epoch", digits=1),
                exhibits.column("Validation loss", "validation_loss", digits=3),
                exhibits.column(VALID, "validation_accuracy", unit="share"),
            ],
            where=FOLDS,
            source="Least loss, what the authors wish they had saved",
        ),
    ),
    "test": (
        _figure(6, "Baseline Testing Performance", {**TEST, "variant": "baseline"}, _panels("train", "test")),
        _figure(
            7,
            "Learning Rate Variant Testing Performance",
            {**TEST, "variant": "learning rate"},
            _panels("train", "test"),
        ),
        _figure(
            8,
            "Halved Learning Rate Baseline Testing Performance",
            {**TEST, "variant": "halved learning rate"},
            _panels("train", "test"),
        ),
        _table(
            3,
            "Results of the final model tests after 10 epochs",
            TEST,
            [
                exhibits.column("Accuracy", "test_accuracy", unit="share"),
                exhibits.column("Loss", "test_loss", digits=3),
            ],
            [
                ("Baseline", "baseline", {"Accuracy": 0.916, "Loss": 0.383}),
                ("Variant Learning Rate", "learning rate", {"Accuracy": 0.915, "Loss": 0.297}),
                ("Baseline Halved LR", "halved learning rate", {"Accuracy": 0.921, "Loss": 0.379}),
            ],
        ),
        exhibits.confusion(
            "figure_9",
            "Confusion matrix of the baseline on the test set",
            where={**TEST, **BASELINE},
            source="Figure 9",
            note="The paper's caption calls it the halved model, its text the baseline.",
        ),
        exhibits.table(
            "per_class",
            "Accuracy of each class on the test set",
            labels=[""],
            rows=[
                exhibits.row(label, {"variant": v}, paper={"Shirt": "79", "Sandal": "99.1"} if v == "baseline" else {})
                for label, v in (("Baseline", "baseline"), ("Halved LR", "halved learning rate"))
            ],
            columns=[exhibits.column(name, f"{name}_recall", unit="percent", digits=1) for name in CLASSES],
            where=TEST,
            source="Figure 9, its diagonal",
        ),
    ),
}
