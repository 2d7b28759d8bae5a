"""The whole graph: from pixels to boxes, joints and activities in one Keras model (METHOD section 1)."""

import keras
from keras import ops

from multiposenet.codecs.heatmap import STRIDE
from multiposenet.config import ModelConfig, parse_config
from multiposenet.models.activity import PoseVector
from multiposenet.models.association import AssignJoints, FindPeaks, PersonGrids
from multiposenet.models.heads import (build_activity, build_backbone, build_prn, build_refiner, detector_model,
                                       detector_parts, keypoint_parts, keypoints_model)
from multiposenet.models.looks import look, look_for_joints, look_for_people
from multiposenet.models.per_person import PerPerson
from multiposenet.models.pose_nms import InOrder, SoftPoseNMS
from multiposenet.models.refined import ReadBoxes, ReadJoints, ScoreJoints, ScorePeople, Sharpness


@keras.saving.register_keras_serializable("multiposenet")
class MultiPoseNet(keras.Model):
    """RGB pixels 0..255 (batch, height, width, 3), sides multiples of 32 -> dict, with n = config.max_people:

    - boxes (batch, n, 4): x1, y1, x2, y2 in pixels, best first, zeros beyond `count`
    - scores (batch, n)
    - keypoints (batch, n, K, 3): x, y in pixels, score
    - activities (batch, n, classes): probabilities; of no meaning beyond `count`
    - count (batch,): people found

    `dense` (pixels -> heatmaps, boxes, scores) and `people` (those, and with a refiner the picture -> the rest, and better boxes if the
    refiner reads them) can be called alone; `poses` is `people` with a refiner's logits instead of the picture, without one the same. So test-time augmentation averages
    heatmaps and logits in between. Both take any number of boxes.

    Args:
        config: a ModelConfig, or its dict.
    """

    def __init__(self, config, name="multiposenet", **kwargs):
        if not isinstance(config, ModelConfig):
            config = parse_config(config, "model configuration", ModelConfig)
        backbone = build_backbone(config)
        keypoint_fpn, subnet = keypoint_parts(config, backbone)
        detection_fpn, retinanet = detector_parts(config, backbone)
        heads = {"keypoints": keypoints_model(backbone, keypoint_fpn, subnet),
                 "detector": detector_model(backbone, detection_fpn, retinanet),
                 "prn": build_prn(config), "activity": build_activity(config)}
        if config.refiner_filters:
            heads["refiner"] = build_refiner(config)

        image = keras.Input((None, None, 3), name="image")
        dense = keras.Model(image, _dense(config, image, backbone, keypoint_fpn, subnet, heads["detector"]), name="dense")
        poses = _poses(config, dense.output, heads)
        people = _refined(image, dense.output, heads["refiner"], poses) if config.refiner_filters else poses

        seen = dense(image)
        found = people({**seen, "image": image} if config.refiner_filters else seen)
        super().__init__(image, {"boxes": seen["boxes"], "scores": seen["scores"], **found}, name=name, **kwargs)
        self.config, self.heads, self.dense, self.people, self.poses = config, heads, dense, people, poses

    def call(self, inputs, training=None, mask=None):
        if keras.backend.backend() != "tensorflow":
            return super().call(inputs, training=training, mask=mask)
        from multiposenet.models.filled_places import find_people

        return find_people(self, inputs)

    def get_config(self):
        return {"config": self.config.model_dump(mode="json"), "name": self.name}


def _dense(config, image, backbone, keypoint_fpn, subnet, detector):
    looks = look(config, image, backbone)
    boxes, scores = look_for_people(config, looks, detector)
    return {"heatmaps": look_for_joints(config, looks, boxes, scores, keypoint_fpn, subnet), "boxes": boxes, "scores": scores}


def _poses(config, dense, heads):
    """Boxes, scores, heatmaps and a refiner's logits -> keypoints, activities, count, and boxes if the refiner reads them."""
    found = _inputs(dense)
    boxes, scores, heatmaps = found["boxes"], found["scores"], found["heatmaps"]
    peaks = FindPeaks(STRIDE, config.max_peaks, config.peak_threshold, len(config.skeleton), name="peaks")(heatmaps)
    grids = PersonGrids(config.grid, config.box_margin, name="person_grids")([boxes, peaks])
    masses = PerPerson(heads["prn"], name="prn_per_person")(grids)
    keypoints = AssignJoints(config.grid, config.box_margin, threshold=config.peak_threshold,
                             name="assign")([boxes, scores, peaks, masses, heatmaps])
    people, ranks = {"keypoints": keypoints}, scores
    if config.refiner_filters:
        found["logits"] = keras.Input(heads["refiner"].output_shape[1:], name="logits")
        people, ranks = _read(config, found, keypoints)
    vectors = PoseVector(config.pose_min_score, config.pose_pairs, name="pose_vector")([people["keypoints"], boxes])
    people["activities"] = PerPerson(heads["activity"], name="activity_per_person")(vectors)
    if config.pose_nms:
        people, scores = _best_poses(config, {"boxes": boxes, **people}, ranks)
    return keras.Model(found, {**people, "count": CountPeople(name="count")(scores)}, name="poses" if config.refiner_filters else "people")


def _read(config, found, keypoints):
    """What the refiner says of people, keypoints and boxes, and their scores times how well they were read."""
    boxes, scores, logits, heatmaps = (found[key] for key in ("boxes", "scores", "logits", "heatmaps"))
    window = config.refiner_grid, config.refiner_margin, config.refiner_min_score
    keypoints = ReadJoints(config.skeleton.sigmas, *window, name="read_joints")([boxes, scores, logits, keypoints, heatmaps])
    sharpness = Sharpness(len(config.skeleton), name="sharpness")(logits)
    people = {"keypoints": ScoreJoints(config.refiner_min_score, name="score_joints")([scores, sharpness, keypoints])}
    if config.refiner_boxes:
        people["boxes"] = ReadBoxes(*window, name="read_boxes")([boxes, scores, logits, heatmaps])
    return people, ScorePeople(config.refiner_min_score, name="score_people")([scores, sharpness])


def _best_poses(config, people, scores):
    """(people, their scores) in the order of new scores."""
    new = SoftPoseNMS(config.skeleton.sigmas, config.score_threshold, name="pose_nms")
    scores, order = new([people["boxes"], scores, people["keypoints"]])
    people = {key: InOrder(name=f"{key}_in_order")([values, scores, order]) for key, values in people.items()}
    return {**people, "scores": scores}, scores


def _refined(image, dense, refiner, poses):
    """`poses` behind a refiner, on the picture and all that the dense half gives."""
    found = _inputs({**dense, "image": image})
    logits = refiner([found["image"], found["boxes"]])
    return keras.Model(found, poses({**{key: found[key] for key in dense}, "logits": logits}), name="people")


def _inputs(tensors):
    """Inputs for outputs of the dense half, for any number of boxes."""
    return {key: keras.Input((None, *tensor.shape[2:]), name=key) for key, tensor in tensors.items()}


@keras.saving.register_keras_serializable("multiposenet")
class CountPeople(keras.layers.Layer):
    """Scores (batch, n), zero where nobody is -> (batch,) int32."""

    def call(self, scores):
        return ops.sum(ops.cast(scores > 0, "int32"), axis=1)
