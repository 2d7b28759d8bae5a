"""What the graph sees: one look at the picture, or two, each with its mirror image or without; who is there, and where joints are."""

from multiposenet.models.half_view import BlendViews, BoxesOfViews, HalfPicture
from multiposenet.models.mirror_view import MeanOfAnchors, MeanOfMaps, WithMirror
from multiposenet.models.retinanet import DecodeBoxes, SelectBoxes


def look(config, image, backbone):
    """One or two looks, each a pair of a picture, symbolic like all that follows, and its [C2..C5], with `mirror_view` for twice
    the batch.

    Args:
        config: ModelConfig.
        image: (batch, h, w, 3) RGB pixels.
        backbone: `Backbone`.
    """
    pictures = [image, HalfPicture(name="half_picture")(image)] if config.half_view else [image]
    return [(picture, backbone(WithMirror()(picture) if config.mirror_view else picture)) for picture in pictures]


def look_for_people(config, looks, detector):
    """Boxes (batch, n, 4) and scores (batch, n), best first, after non-maximum suppression.

    Args:
        config: ModelConfig.
        looks: of `look`.
        detector: the detector head.
    """
    found = []
    for name, (picture, features) in zip(("decode_boxes", "decode_half_boxes"), looks):
        raw = detector(features[1:])
        if config.mirror_view:
            raw = {kind: MeanOfAnchors(kind)([picture, values]) for kind, values in raw.items()}
        found += [DecodeBoxes(name=name)([picture, raw["regression"]]), raw["classification"]]
    if config.half_view:
        found = BoxesOfViews(config.half_view, name="boxes_of_views")([looks[0][0], *found])
    return SelectBoxes(config.score_threshold, config.nms_iou, config.max_candidates, config.max_people,
                       config.vote_spread, name="select_boxes")(found)


def look_for_joints(config, looks, boxes, scores, fpn, subnet):
    """Heatmaps (batch, h / 4, w / 4, maps).

    Args:
        config: ModelConfig.
        looks: of `look`.
        boxes, scores: (batch, n, 4) and (batch, n), for `BlendViews`.
        fpn, subnet: parts of the keypoint head.
    """
    heatmaps = [subnet(fpn(features)) for _, features in looks]
    if config.mirror_view:
        heatmaps = [MeanOfMaps(config.skeleton.mirror_order)(maps) for maps in heatmaps]
    if not config.half_view:
        return heatmaps[0]
    return BlendViews(config.half_view, config.box_margin, name="blend_views")([*heatmaps, boxes, scores])
