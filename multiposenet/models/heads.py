"""The heads as a configuration describes them; training, merging and the whole graph build them here alike."""

import keras

from multiposenet.codecs import pose_vector
from multiposenet.models.activity import ActivityClassifier
from multiposenet.models.backbone import Backbone
from multiposenet.models.fpn import FPN
from multiposenet.models.keypoint_subnet import KeypointSubnet
from multiposenet.models.prn import PoseResidualNetwork
from multiposenet.models.refiner import PoseRefiner
from multiposenet.models.retinanet import RetinaNetHeads


def build_backbone(config):
    """Backbone of a ModelConfig, with random weights."""
    return Backbone(config.backbone, config.preprocessing, config.backbone_padding)


def keypoint_parts(config, backbone):
    """Pyramid and subnet of the keypoint head."""
    fpn = FPN(2, backbone.depths, config.fpn_channels, context=config.fpn_context, name="keypoint_fpn")
    maps = len(config.skeleton) + 1
    return fpn, KeypointSubnet(config.fpn_channels, config.subnet_filters, config.fusion_filters, maps,
                               config.subnet_batch_norm)


def detector_parts(config, backbone):
    """Pyramid and RetinaNet heads of the detector."""
    fpn = FPN(3, backbone.depths[1:], config.fpn_channels, coarse=True, context=config.fpn_context,
              name="detection_fpn")
    return fpn, RetinaNetHeads(config.fpn_channels, config.head_filters, config.head_depth)


def keypoints_model(backbone, fpn, subnet):
    """What a keypoint weights file holds: pixels -> heatmaps."""
    image = keras.Input((None, None, 3), name="image")
    return keras.Model(image, subnet(fpn(backbone(image))), name="keypoints")


def detector_model(backbone, fpn, heads):
    """What a detector weights file holds: [C3, C4, C5] -> regression and classification. The backbone is not in it."""
    features = [keras.Input((None, None, depth), name=f"C{level}") for level, depth in zip((3, 4, 5), backbone.depths[1:])]
    return keras.Model(features, heads(fpn(features)), name="detector")


def build_refiner(config):
    """Refiner of a ModelConfig that has one."""
    return PoseRefiner(len(config.skeleton), config.refiner_filters, config.refiner_grid, config.refiner_margin, config.refiner_backbone,
                       config.refiner_boxes, config.window_mirror_order if config.refiner_mirror else None, config.refiner_more_grids)


def build_prn(config):
    """Pose Residual Network of a ModelConfig."""
    return PoseResidualNetwork(len(config.skeleton), config.grid, config.prn_hidden, config.prn_dropout)


def build_activity(config):
    """Activity classifier of a ModelConfig."""
    inputs = pose_vector.size(len(config.skeleton), config.pose_pairs)
    return ActivityClassifier(inputs, len(config.activities), config.activity_units, config.activity_dropout,
                              config.activity_batch_norm)
