"""What the graph sees: one look at the picture, or two; who is there, where their joints are, what a refiner is shown."""

from multiposenet.models.half_view import BlendViews, BoxesOfViews, HalfPicture
from multiposenet.models.keypoint_subnet import with_fused
from multiposenet.models.retinanet import DecodeBoxes, SelectBoxes


def look(config, image, backbone):
    """One or two looks, each a pair of a picture, symbolic like all that follows, and its [C2..C5].

    Args:
        config: ModelConfig.
        image: (batch, h, w, 3) RGB pixels.
        backbone: `Backbone`.
    """
    pictures = [image, HalfPicture(name="half_picture")(image)] if config.half_view else [image]
    return [(picture, backbone(picture)) for picture in pictures]


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
        found += [DecodeBoxes(name=name)([picture, raw["regression"]]), raw["classification"]]
    if config.half_view:
        found = BoxesOfViews(config.half_view, name="boxes_of_views")([looks[0][0], *found])
    return SelectBoxes(config.score_threshold, config.nms_iou, config.max_candidates, config.max_people,
                       config.vote_spread, name="select_boxes")(found)


def look_for_joints(config, looks, boxes, scores, fpn, subnet):
    """The keypoint half of the graph, as it is merged and as a refiner is trained on it.

    Args:
        config: ModelConfig.
        looks: of `look`.
        boxes, scores: (batch, n, 4) and (batch, n), for `BlendViews`.
        fpn, subnet: parts of the keypoint head.

    Returns:
        Heatmaps (batch, h / 4, w / 4, maps), and the features of `refiner_maps`, an empty list without a refiner.
    """
    with_features = with_fused(subnet) if config.refiner_filters else None

    def see(features):
        pyramid = fpn(features)
        if not with_features:
            return subnet(pyramid), []
        heatmaps, fused = with_features(pyramid)
        return heatmaps, [fused, *pyramid[1:]]

    heatmaps, maps = see(looks[0][1])
    if config.half_view:
        half, half_maps = see(looks[1][1])
        heatmaps = BlendViews(config.half_view, config.box_margin, name="blend_views")([heatmaps, half, boxes, scores])
        maps += half_maps[:1] + half_maps[-1:]
    return heatmaps, maps


def refiner_maps(config):
    """(strides, depths) of what a refiner sees: Z and P3..P5 of the picture, Z and P5 of the half view, heatmaps."""
    strides, depths = [4, 8, 16, 32], [config.fusion_filters, *[config.fpn_channels] * 3]
    if config.half_view:
        strides, depths = [*strides, 8, 64], [*depths, config.fusion_filters, config.fpn_channels]
    return [*strides, 4], [*depths, len(config.skeleton) + 1]


def seen_by_refiner(seen):
    """`PoseRefiner`'s inputs among the outputs of the graph's dense half, a dict."""
    return [*(seen[key] for key in sorted(key for key in seen if key.startswith("map"))), seen["heatmaps"], seen["boxes"]]
