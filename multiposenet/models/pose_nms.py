"""Poses that are much alike are one person's: the best of them stays, the others lose their scores.

With it boxes may overlap a lot (a higher `model.nms_iou`), so that people who stand close together are all kept, and everybody is
read in several windows of which the surest reading counts.
"""

import keras
from keras import layers, ops

from multiposenet.models.refined import AREA_SHARE
from multiposenet.skeleton import SEEN

SETTLED = 1e-4  # scores' shares change by less: the rule is fulfilled


@keras.saving.register_keras_serializable("multiposenet")
class SoftPoseNMS(layers.Layer):
    """[boxes (batch, n, 4), scores (batch, n), keypoints (batch, n, K, 3)] -> scores (batch, n), best first, and whose each is
    (batch, n) int32.

    A person's score is multiplied by 1 - s OKS^2 for everybody whose pose ranks higher, s being the share of its score that this one keeps
    itself (Bodla et al., ICCV 2017, "Soft-NMS", with the similarity of poses, Papandreou et al., CVPR 2017, instead of that of
    boxes). Poses rank by box score x mean score of the joints seen, as `Person.score`; OKS is that of the lower one's joints seen.
    Scores that are no longer above the threshold become 0.

    Args:
        sigmas: OKS' of each joint.
        score_threshold: people must score above it.
    """

    def __init__(self, sigmas, score_threshold, **kwargs):
        super().__init__(**{"dtype": "float32", **kwargs})
        self.sigmas, self.score_threshold = [float(sigma) for sigma in sigmas], score_threshold

    def call(self, inputs):
        boxes, scores, keypoints = inputs
        seen = ops.cast(keypoints[..., 2] > SEEN, "float32")
        number = ops.maximum(ops.sum(seen, axis=-1), 1.0)
        ranks = scores * ops.sum(seen * keypoints[..., 2], axis=-1) / number
        alike = ops.sum(seen[:, :, None] * self._similarities(boxes, keypoints), axis=-1) / number[..., None]
        places = ops.cumsum(ops.ones_like(ranks), axis=1)
        higher = ops.logical_or(ranks[:, None] > ranks[..., None],
                                ops.logical_and(ranks[:, None] == ranks[..., None], places[:, None] < places[..., None]))
        scores = scores * _shares(ops.where(higher, ops.square(alike), 0.0))
        scores = ops.where(scores > self.score_threshold, scores, 0.0)
        return ops.top_k(scores, ops.shape(scores)[1])

    def _similarities(self, boxes, keypoints):
        """(batch, n, n, K): OKS of each joint between any two people, of the mean of their areas."""
        areas = AREA_SHARE * ops.prod(ops.maximum(boxes[..., 2:] - boxes[..., :2], 1.0), axis=-1)
        spreads = (2 * ops.array(self.sigmas, "float32")) ** 2 * (areas[:, :, None] + areas[:, None])[..., None]
        points = keypoints[..., :2]
        return ops.exp(-ops.sum(ops.square(points[:, :, None] - points[:, None]), axis=-1) / spreads)

    def compute_output_spec(self, inputs):
        shape = inputs[1].shape
        return keras.KerasTensor(shape, "float32"), keras.KerasTensor(shape, "int32")

    def get_config(self):
        return {**super().get_config(), "sigmas": self.sigmas, "score_threshold": self.score_threshold}


def _shares(losses):
    """Shares s (batch, n) with s_i = product of 1 - s_j losses_ij, (batch, n, n), 0 unless j ranks higher.

    There is exactly one solution. The rule, repeated, makes the shares of one rank more final each time, and a few rounds are enough
    in practice.
    """
    def rule(shares):
        return ops.prod(1 - shares[:, None] * losses, axis=-1)

    def changed(shares, previous):
        return ops.any(ops.abs(shares - previous) > SETTLED)

    start = ops.ones_like(losses[..., 0])
    shares, _ = ops.while_loop(changed, lambda shares, previous: (rule(shares), shares), (rule(start), start))
    return shares


@keras.saving.register_keras_serializable("multiposenet")
class InOrder(layers.Layer):
    """[values (batch, n, ...), scores (batch, n), whose (batch, n) of `SoftPoseNMS`] -> values in that order, zeros where scores are 0."""

    def call(self, inputs):
        values, scores, order = inputs
        places = (..., *[None] * (len(values.shape) - 2))
        return ops.where(scores[places] > 0, ops.take_along_axis(values, order[places], axis=1), ops.zeros((), values.dtype))

    def compute_output_shape(self, input_shapes):
        return input_shapes[0]
