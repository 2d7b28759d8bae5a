"""Train the keypoint head: see --help."""

from multiposenet.commands.train import keypoints

if __name__ == "__main__":
    raise SystemExit(keypoints())
