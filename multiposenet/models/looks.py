"""What the graph sees of the joints: one look at the picture, or two, and what a refiner is shown of them."""

from multiposenet.models.half_view import BlendViews, HalfPicture
from multiposenet.models.keypoint_subnet import with_fused


def look_for_joints(config, image, features, boxes, scores, backbone, fpn, subnet):
    """The keypoint half of the graph, as it is merged and as a refiner is trained on it.

    Args:
        config: ModelConfig.
        image: (batch, h, w, 3) RGB pixels, symbolic like all that follows.
        features: of the backbone, [C2..C5].
        boxes, scores: (batch, n, 4) and (batch, n), for `BlendViews`.
        backbone, fpn, subnet: parts of the keypoint head.

    Returns:
        Heatmaps (batch, h / 4, w / 4, maps), and the features of `refiner_maps`, an empty list without a refiner.
    """
    look = with_fused(subnet) if config.refiner_filters else None

    def see(features):
        pyramid = fpn(features)
        if not look:
            return subnet(pyramid), []
        heatmaps, fused = look(pyramid)
        return heatmaps, [fused, *pyramid[1:]]

    heatmaps, maps = see(features)
    if config.half_view:
        half, half_maps = see(backbone(HalfPicture(name="half_picture")(image)))
        heatmaps = BlendViews(config.half_view, config.box_margin, name="blend_views")([heatmaps, half, boxes, scores])
        maps += half_maps[:1] + half_maps[-1:]
    return heatmaps, maps


def refiner_maps(config):
    """(strides, depths) of what a refiner sees: Z and P3..P5 of the picture, Z and P5 of the half view, heatmaps."""
    strides, depths = [4, 8, 16, 32], [config.fusion_filters, *[config.fpn_channels] * 3]
    if config.half_view:
        strides, depths = [*strides, 8, 64], [*depths, config.fusion_filters, config.fpn_channels]
    return [*strides, 4], [*depths, len(config.skeleton) + 1]
