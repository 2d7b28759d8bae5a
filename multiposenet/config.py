"""Typed configuration: defaults with their reasons, presets, YAML files and command-line overrides.

    config = load_config("configs/lite_keypoints.yaml", ["train.batch_size=8"])

Every default stands here once. A YAML file holds only what differs; unknown keys and wrong types are errors.
"""

import difflib
from pathlib import Path
from typing import Annotated, Literal, Optional

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, InstanceOf, PlainSerializer, ValidationError, model_validator

from multiposenet.errors import UserError
from multiposenet.files import read_yaml
from multiposenet.skeleton import COCO17, SKELETONS, Skeleton, get_skeleton

Positive = Annotated[int, Field(gt=0)]
Eights = Annotated[int, Field(gt=0, multiple_of=8)]
Networks = Literal["resnet50", "resnet101", "resnet152", "mobilenetv2"]
Fraction = Annotated[float, Field(ge=0, le=1)]
Range = tuple[float, float]
Joints = Annotated[InstanceOf[Skeleton], BeforeValidator(get_skeleton),
                   PlainSerializer(lambda it: it.name if SKELETONS.get(it.name) == it else it.as_dict())]

HEADS = ("keypoints", "detector", "refiner", "prn", "activity")  # in the order of training


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ModelConfig(Section):
    """Everything that decides the graph and its weights' shapes; stored inside every `.keras` file."""

    backbone: Networks = "resnet50"
    preprocessing: Literal["caffe", "torch", "tf"] = "caffe"  # of the ImageNet weights the backbone started from
    backbone_padding: Literal["keras", "keras_resnet"] = "keras"  # keras_resnet: of weights from import_weights.py
    skeleton: Joints = COCO17  # a name, a .yaml file, COCO annotations, or the definition itself (skeleton.py)
    activities: tuple[str, ...] = ("walking", "running", "sitting", "standing")
    fpn_channels: Positive = 256  # both pyramids
    fpn_context: Annotated[int, Field(ge=0)] = 0  # residual blocks on the coarsest level, so that it sees far; METHOD has none
    subnet_filters: Positive = 128  # D2..D5 of the keypoint subnet
    fusion_filters: Positive = 512  # the 3x3 convolution that smooths their concatenation Z
    subnet_batch_norm: bool = False  # after the keypoint subnet's 3x3 convolutions; METHOD has none
    extra_channel: Literal["background", "segmentation"] = "background"  # heatmap channel K + 1
    head_filters: Positive = 256  # RetinaNet classification and regression heads
    head_depth: Positive = 4
    refiner_filters: Annotated[int, Field(ge=0)] = 0  # of the second look at each person; 0: none, METHOD's way
    refiner_backbone: Networks = "mobilenetv2"  # that reads a person's window, whatever reads the picture
    refiner_grid: tuple[Eights, Eights] = (64, 48)  # cells of a person's window, height x width: of 4 pixels, and sides must be multiples of 32
    refiner_more_grids: tuple[tuple[Eights, Eights], ...] = ()  # of further readers of the same windows: `merge_weights.py --refiner A B`
    refiner_margin: float = 0.15  # a box is widened by this share of its sides before the window is drawn around it
    refiner_boxes: bool = False  # it reads the edges of each person's box, too
    refiner_mirror: bool = False  # the window's mirror image is read, too: twice the work
    refiner_min_score: Fraction = 0.2  # of the boxes of people it looks at: fewer of them take less time (docs/experiments.md, "Who ranks first")
    prn_hidden: Positive = 1024
    prn_dropout: Fraction = 0.5
    grid: tuple[Positive, Positive] = (56, 36)  # PRN cells, height x width
    box_margin: float = 0.21  # a box is widened by this share of its sides before its peaks are gathered
    activity_units: tuple[Positive, ...] = (3072, 128)
    activity_dropout: Fraction = 0.3
    activity_limbs: bool = False  # the classifier also sees limbs and mirror pairs; False: the article's joints alone
    activity_batch_norm: bool = True
    pose_min_score: float = 0.05  # joints below it count as missing for the activity
    half_view: Annotated[float, Field(ge=0)] = 0  # px: larger people, and their joints, are looked for at half size; 0: one look
    mirror_view: bool = False  # each look sees the picture's mirror image, too: twice the work before people are read
    max_people: Positive = 50  # boxes kept per picture
    max_candidates: Positive = 300  # boxes that enter non-maximum suppression
    score_threshold: Fraction = 0.05  # keras-retinanet's, and COCO practice for AP; pose_nms and a refiner lower scores: 0.01 in shipped weights
    nms_iou: Fraction = 0.5  # boxes that overlap a better one more go
    pose_nms: bool = False  # people whose pose is much like a better one lose their scores, so that nms_iou may be higher
    vote_spread: Fraction = 0.05  # how far boxes that were dropped still move those that stay; 0: not at all, as keras-retinanet
    max_peaks: Positive = 50  # per joint and picture
    peak_threshold: Fraction = 0.05

    @model_validator(mode="after")
    def _same_windows(self):
        rows, columns = self.refiner_grid
        for grid in self.refiner_more_grids:
            if grid[0] * columns != grid[1] * rows:
                raise ValueError(f"refiner_more_grids {grid} has not the shape of refiner_grid {self.refiner_grid}: they see the same windows")
        return self

    @property
    def heads(self):
        """Those of `HEADS` that the model has."""
        return tuple(head for head in HEADS if head != "refiner" or self.refiner_filters)

    @property
    def pose_pairs(self):
        """Pairs of joints whose lie to each other is part of a pose vector."""
        return self.skeleton.pair_indices if self.activity_limbs else []

    @property
    def window_mirror_order(self):
        """Order of the refiner's maps in a mirror: that of the joints, then that of the left, upper, right and lower edge."""
        joints = len(self.skeleton)
        return [*self.skeleton.mirror_order, *((joints + 2, joints + 1, joints, joints + 3) if self.refiner_boxes else ())]


class DataSet(Section):
    """One COCO-format set, or one table of poses (activity). Relative paths start at `data.root`."""

    annotations: str
    images: Optional[str] = None
    repeat: Positive = 1  # times an epoch shows each picture


class DataConfig(Section):
    root: str = "."
    sets: tuple[DataSet, ...] = ()
    validation: Fraction = 0.02  # share of the pictures (chosen by id) held out to pick the best checkpoint


class AugmentConfig(Section):
    """METHOD section 3; lengths in pixels of the crop."""

    crop: Positive = 480
    rotation_deg: float = 40
    scale: Range = (0.7, 1.2)  # of "the main person is `person_height` of the crop high"
    person_height: Fraction = 0.6
    shift_px: float = 40
    flip: Fraction = 0.3
    border: int = 128  # grey outside the picture
    color: Fraction = 0.0  # largest change of brightness, contrast and saturation
    blur: Annotated[float, Field(ge=0)] = 0.0  # px, largest sigma
    jpeg: Fraction = 0.0  # share of the crops that are compressed
    mosaic: Fraction = 0.0  # share of the crops put together from four pictures, each in a quarter


class LossConfig(Section):
    """Reduction, rate and clipping belong together: `train.learning_rate` below suits this reduction."""

    reduction: Literal["article", "mean"] = "article"  # sum / (2 batch), or Keras' mean
    peak_weight: float = 0.0  # further weight of heatmap cells, per unit of their target; 0: the article's plain L2
    sigma_share: float = 0.0  # sigma of a joint's target, by the root of its person's box area; 0: METHOD's 7 px for all
    sigma_px: Range = (4, 14)  # what it is kept within
    intermediate: float = 1.0  # weight of each of the four intermediate heatmap losses
    unsure_weight: Fraction = 0.0  # of cells near a joint that a teacher half saw (v = 0, but scored above 0.1 in `teacher_raw`)
    region_weight: Fraction = 0.0  # of cells on crowds and on people whose joints nobody labelled
    focal_alpha: float = 0.25
    focal_gamma: float = 2.0
    smooth_l1_sigma: float = 3.0


class TrainConfig(Section):
    epochs: Positive = 1
    batch_size: Positive = 8
    accumulate: Positive = 1  # steps whose gradients are averaged before the weights move: a larger batch, same memory
    steps_per_epoch: Optional[Positive] = None  # None: all of the data once
    max_steps: Optional[Positive] = None  # end sooner than the schedule does, and validate on one batch: a trial
    keep: Literal["best", "last"] = "best"  # epoch that is the result; best: by val_loss, or by loss if nothing is held out
    stop_after: Optional[Positive] = None  # epochs without a better one end the run
    learning_rate: float = 4e-5  # the article's, for its summed keypoint loss
    backbone_rate: Fraction = 1.0  # of that, for the backbone: its trained weights bear less than new layers
    schedule: Literal["constant", "cosine", "step", "plateau"] = "cosine"
    warmup_steps: int = 0  # cosine only
    decay_rate: float = 0.1  # step: factor per `decay_epochs`; plateau: factor after `patience` epochs
    decay_epochs: float = 1
    patience: Positive = 3
    clip_norm: Optional[float] = None
    ema: Fraction = 0.0  # momentum of the weights' moving average, 0 switches it off
    frozen_stages: Annotated[int, Field(ge=0, le=5)] = 0  # backbone up to C<n> keeps its weights
    live_batch_norm: bool = False  # METHOD 2 freezes the backbone's BatchNorm; live it keeps C5 alive at high rates
    backbone_weights: Optional[str] = "imagenet"  # or a file, or None for random
    init: Optional[str] = None  # start from a run folder or weights file of the head, a .keras file, or `lite`
    keypoints: Optional[str] = None  # the keypoint head that a detector stands on and whose backbone a refiner begins with: its
    #                                  run folder or weights file, a .keras file, or `lite`
    precision: Literal["float32", "mixed_float16", "mixed_bfloat16"] = "float32"
    jit_compile: bool = False  # XLA's depthwise convolutions are slow on the CPU
    workers: int = 1
    devices: Positive = 1  # that share every batch of `batch_size`, evenly (devices.py)
    seed: int = 0


class PrnConfig(Section):
    """What the Pose Residual Network trains on (METHOD section 5)."""

    min_joints: Positive = 4  # people with fewer labelled joints are left out
    mirror: Fraction = 0.5
    box_jitter: float = 0.0  # largest shift of each box edge, share of the side
    drop_joint: Fraction = 0.0  # share of input joints withheld
    joint_jitter: float = 0.0  # standard deviation, share of the box sides


class RefinerConfig(Section):
    """What the refiner trains on (docs/refiner.md)."""

    box_jitter: float = 0.06  # standard deviation of each box edge, share of the side, as a detector errs
    half_share: Fraction = 0.2  # of the people with many joints who are cut to their upper or lower half
    cut_share: Fraction = 0.25  # of these people within whom the picture ends, once or twice
    unsure_weight: Fraction = 0.0  # in the loss, of joints that a teacher half saw (v = 0, but 0.1 or more in `teacher_raw`)
    crowd_share: Fraction = 0.2  # of the windows in which somebody with a segmentation stands before the person
    coarse_share: Fraction = 0.5  # of the windows that are as coarse as small people's
    coarsest: Fraction = 0.2  # of the window's pixels a side; 0.2: people of some 30 px
    hidden_share: Fraction = 0.3  # of the windows with a patch before the person


class ActivityConfig(Section):
    """Which poses the activity classifier trains on, and how they are varied.

    `rules`: class -> regular expressions; an MPII row is of a class when one of them matches its
    "category: activity" text and none of `exclude` does, and it is of no other class.
    """

    rules: dict[str, tuple[str, ...]] = {}
    exclude: tuple[str, ...] = ()
    balance: Fraction = 0.5  # 0: classes as frequent as in the data, 1: equally frequent; between pays for macro-F1
    mirror: Fraction = 0.5
    drop_joint: Fraction = 0.1
    joint_jitter: float = 0.02  # standard deviation, share of the box sides
    box_jitter: float = 0.05
    label_smoothing: Fraction = 0.0
    folds: Annotated[int, Field(ge=0)] = 5  # cross-validation before the final fit, 0: none


class PredictConfig(Section):
    short_side: Positive = 512  # the article's is 480; the shipped `lite` finds more here (docs/experiments.md)
    long_side: Positive = 960
    score_threshold: Fraction = 0.4  # people drawn and counted
    joint_threshold: Fraction = 0.1  # joints drawn
    smoothing_s: Annotated[float, Field(ge=0)] = 0.5  # videos: time over which a person's activity is averaged


class Config(Section):
    preset: Literal["r50", "lite"] = "r50"
    model: ModelConfig = ModelConfig()
    data: DataConfig = DataConfig()
    augment: AugmentConfig = AugmentConfig()
    loss: LossConfig = LossConfig()
    train: TrainConfig = TrainConfig()
    refiner: RefinerConfig = RefinerConfig()
    prn: PrnConfig = PrnConfig()
    activity: ActivityConfig = ActivityConfig()
    predict: PredictConfig = PredictConfig()


# Differences from ModelConfig's defaults, which are METHOD's sizes.
PRESETS = {
    "r50": {},
    "lite": dict(backbone="mobilenetv2", preprocessing="torch", fpn_channels=64, subnet_filters=32, fusion_filters=64,
                 head_filters=48, head_depth=3, prn_hidden=96, activity_units=(1024, 256), fpn_context=4, half_view=200,
                 activity_dropout=0.5, activity_limbs=True, subnet_batch_norm=True),
}


def load_config(path=None, overrides=(), preset=None):
    """Defaults, then the preset, then the YAML file, then `key.subkey=value` overrides (values in YAML).

    Raises:
        UserError: a missing or broken file, an unknown key, a wrong type; the message names it.
    """
    tree = read_yaml(path) if path else {}
    for override in overrides:
        _set(tree, override)
    if preset:
        tree["preset"] = preset
    name = tree.get("preset", "r50")
    if isinstance(tree.get("model", {}), dict):
        tree["model"] = {**PRESETS.get(str(name), {}), **tree.get("model", {})}
    return parse_config(tree, source=path or "configuration")


def parse_config(tree, source, kind=Config):
    """Check a plain dict against `kind` (a Section class).

    Raises:
        UserError: naming `source` and every key that is unknown or has a wrong value.
    """
    try:
        return kind.model_validate(tree)
    except ValidationError as error:
        lines = [_explain(problem, kind) for problem in error.errors()]
        raise UserError(f"{source}: " + "; ".join(lines)) from None


def preset_model(name):
    """ModelConfig of a preset.

    Raises:
        UserError: no such preset.
    """
    if name not in PRESETS:
        raise UserError(f"no preset named {name!r}; known: {', '.join(PRESETS)}")
    return ModelConfig(**PRESETS[name])


def changed_model(model, overrides):
    """A ModelConfig with `model.key=value` overrides.

    Raises:
        UserError: an override of something else, an unknown key or a wrong value.
    """
    tree = {"model": model.model_dump(mode="json")}
    for override in overrides:
        if not override.startswith("model."):
            raise UserError(f"--set {override}: only settings of the model can be changed here, such as model.half_view=0")
        _set(tree, override)
    return parse_config(tree, "--set").model


def save_config(config, path):
    """Write the resolved configuration as YAML; `load_config` reads it back to the same values."""
    Path(path).write_text(yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False))


def _set(tree, override):
    key, equals, value = override.partition("=")
    if not equals or not key:
        raise UserError(f"--set {override}: write it as key.subkey=value")
    *parents, last = key.split(".")
    for parent in parents:
        tree = tree.setdefault(parent, {})
        if not isinstance(tree, dict):
            raise UserError(f"--set {override}: {parent} has no keys below it")
    try:
        tree[last] = yaml.safe_load(value)
    except yaml.YAMLError:
        raise UserError(f"--set {override}: {value!r} is not valid YAML") from None


def _explain(problem, kind):
    key = ".".join(str(part) for part in problem["loc"])
    if problem["type"] != "extra_forbidden":
        message = problem["msg"].removeprefix("Value error, ")
        return f"{key}: {message[0].lower()}{message[1:]} (got {problem['input']!r})"
    for part in problem["loc"][:-1]:
        kind = getattr(kind, "model_fields", {}).get(part)
        kind = getattr(kind, "annotation", None)
    close = difflib.get_close_matches(str(problem["loc"][-1]), getattr(kind, "model_fields", {}), n=1)
    return f"{key}: unknown key" + (f", did you mean {close[0]}?" if close else "")
