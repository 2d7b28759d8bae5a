"""`evaluate.py activity`: several MLPs and scikit-learn's classifiers on the same folds (METHOD section 6)."""

from multiposenet.commands.common import quiet_tensorflow
from multiposenet.evaluation import activity as evaluation

# Name -> what differs from the configuration: (section, its settings).
AS_LABELLED = dict(mirror=0.0, drop_joint=0.0, joint_jitter=0.0, box_jitter=0.0)
JOINTS_ALONE = dict(activity_limbs=False)
SETTINGS = {
    "MLP as configured": ("model", {}),
    "MLP of the article, 3072 and 128": ("model", dict(activity_units=(3072, 128))),
    "MLP, joints alone": ("model", JOINTS_ALONE),
    "MLP, no dropout": ("model", dict(activity_dropout=0.0)),
    "MLP, no BatchNorm": ("model", dict(activity_batch_norm=False)),
    "MLP, poses as labelled": ("activity", AS_LABELLED),
}


def compare(config, folder):
    """Cross-validate everything; a run that was killed goes on with its finished folds.

    Args:
        config: `Config` of an activity training.
        folder: Path for the folds' runs and the figures.

    Returns:
        Dict title -> rows, see `report.markdown`.

    Raises:
        UserError: see `recipes.activity`.
    """
    with quiet_tensorflow():
        from multiposenet.data.activity import read_pose_sets
        from multiposenet.evaluation import baselines, figures
        from multiposenet.recipes import activity as recipe
    skeleton = config.model.skeleton
    table = read_pose_sets(config, skeleton)
    print(table.describe())
    runs = {"MLP as configured, from train.init": config} if config.train.init else {}
    fresh = config.model_copy(update={"train": config.train.model_copy(update=dict(init=None))})
    for name, (section, settings) in SETTINGS.items():
        runs[name] = fresh.model_copy(update={section: getattr(fresh, section).model_copy(update=settings)})
    summaries = {}
    for name, changed in runs.items():
        summaries[name] = recipe.cross_validate(table, changed, skeleton, folder / "runs" / name, resume=True)
        print(f"{name}: F1 {summaries[name]['mean']['f1']:.3f}", flush=True)
    alone = config.model_copy(update={"model": config.model.model_copy(update=JOINTS_ALONE)})
    for name in baselines.BASELINES:
        for inputs, changed in (("", config), (", joints alone", alone)):
            summaries[name + inputs] = baselines.cross_validate(name, table, changed, skeleton)
    first = next(iter(summaries))
    figures.confusion(folder / "confusion.png", summaries[first]["confusion"], summaries[first]["classes"])
    figures.learning_curve(folder / "learning_curve.png", folder / "runs" / first / "1" / "log.csv")
    return {"activity": {name: _row(summary) for name, summary in summaries.items()}}


def _row(summary):
    return {**{name: summary["mean"][name] for name in evaluation.FIGURES},
            **{f"{name} ±": summary["std"][name] for name in ("accuracy", "f1")}, "folds": len(summary["folds"])}
