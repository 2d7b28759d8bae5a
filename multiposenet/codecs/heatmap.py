"""Joint heatmaps at stride 4 (METHOD section 3). The decoding of their peaks is in `peaks.py`."""

import numpy as np

STRIDE = 4
SIGMA_PX = 7.0  # of every person's joints, unless the configuration lets it grow with the person
FLOOR = 0.01  # Gaussian terms below it are dropped


def cell_centers(cells):
    """(cells,) pixel coordinates of the cell centres: 4 g + 1.5."""
    return np.arange(cells, dtype="float32") * STRIDE + (STRIDE - 1) / 2


def sigmas_px(sizes_px, share, bounds):
    """Width of the Gaussians of each person's joints, as OKS measures distances: by the person's size.

    Args:
        sizes_px: (people,) root of the area of each one's box.
        share: of that; 0 gives everybody `SIGMA_PX`.
        bounds: smallest and largest, pixels.

    Returns:
        (people,) float32 pixels.
    """
    sizes_px = np.asarray(sizes_px, "float32")
    return np.clip(share * sizes_px, *bounds) if share else np.full_like(sizes_px, SIGMA_PX)


def encode_joints(keypoints, height, width, sigmas=None):
    """Draw every person's joints; people share a map by maximum.

    Args:
        keypoints: (people, K, 3) x, y, v in pixels; a joint counts when v >= 1 and it lies in the picture.
        height, width: of the picture in pixels, multiples of 4.
        sigmas: (people,) pixels; `SIGMA_PX` for all if None.

    Returns:
        (height / 4, width / 4, K) float32 in [0, 1].
    """
    return draw_joints(keypoints, height, width, sigmas)[0]


def draw_joints(keypoints, height, width, sigmas=None):
    """`encode_joints`, and of every cell the sigma of the joint that it belongs to, `SIGMA_PX` where there is none.

    Returns:
        Two (height / 4, width / 4, K) float32.
    """
    keypoints = np.asarray(keypoints, "float32")
    rows, columns = height // STRIDE, width // STRIDE
    maps = np.zeros((rows, columns, keypoints.shape[1]), "float32")
    widths = np.full_like(maps, SIGMA_PX)
    sigmas = np.full(len(keypoints), SIGMA_PX) if sigmas is None else sigmas
    inside = ((keypoints[..., 2] >= 1) & (keypoints[..., 0] >= 0) & (keypoints[..., 0] <= width - 1)
              & (keypoints[..., 1] >= 0) & (keypoints[..., 1] <= height - 1))
    for person, joint in zip(*np.nonzero(inside)):
        x, y = keypoints[person, joint, :2]
        sigma = sigmas[person]
        (top, along_y), (left, along_x) = _profile(y, rows, sigma), _profile(x, columns, sigma)
        blob = np.outer(along_y, along_x)
        blob[blob < FLOOR] = 0
        around = np.s_[top:top + len(along_y), left:left + len(along_x), joint]
        widths[around][blob > maps[around]] = sigma
        np.maximum(maps[around], blob, out=maps[around])
    return maps, widths


def background(maps):
    """(..., K) -> (..., 1): clip(1 - max over the joints, 0, 1), the article's extra channel."""
    return np.clip(1 - maps.max(axis=-1, keepdims=True), 0, 1)


def disc(center, radius_px, height, width):
    """(height / 4, width / 4) bool: cells whose centre is within `radius_px` of the point (x, y)."""
    x, y = cell_centers(width // STRIDE), cell_centers(height // STRIDE)
    return (x[None] - center[0]) ** 2 + (y[:, None] - center[1]) ** 2 <= radius_px ** 2


def _profile(position_px, cells, sigma):
    """First cell and Gaussian values along one axis, as far as a term can pass the floor."""
    reach = sigma * np.sqrt(-2 * np.log(FLOOR))
    first = max(int(np.ceil((position_px - reach - 1.5) / STRIDE)), 0)
    last = min(int(np.floor((position_px + reach - 1.5) / STRIDE)), cells - 1)
    centers = np.arange(first, last + 1) * STRIDE + (STRIDE - 1) / 2
    return first, np.exp(-(centers - position_px) ** 2 / (2 * sigma ** 2))
