"""`import_weights.py`: a keras-retinanet snapshot into a detector of ours and the backbone it stands on."""

import argparse

from multiposenet.commands.common import quiet_tensorflow, run


def main(argv=None):
    """Exit status 0, or 2 for a mistake of the user."""
    return run(import_weights, _parser().parse_args(argv))


def import_weights(args):
    """Import as the options say; print what was left behind, what was written and what to do with it."""
    with quiet_tensorflow():
        from multiposenet.snapshots import BACKBONE_FILE, import_snapshot
    network, left_over = import_snapshot(args.snapshot, args.workdir, args.class_index)
    for line in left_over:
        print(f"not carried over: {line}")
    print(f"wrote {args.workdir}/detector.weights.h5, its manifest detector.json, and {BACKBONE_FILE} ({network})\n"
          "train_keypoints.py makes the head that fits with\n"
          f"    --set model.backbone={network} --set model.backbone_padding=keras_resnet\n"
          f"    --set train.backbone_weights={args.workdir}/{BACKBONE_FILE} --set train.frozen_stages=5")


def _parser():
    parser = argparse.ArgumentParser(prog="import_weights.py", description=__doc__.split(":", 1)[1].strip())
    parser.add_argument("snapshot", metavar="FILE.h5", help="training snapshot, converted model or weights of "
                        "keras-retinanet 1.0, with a ResNet, the default pyramid, heads and anchors; its own anchors "
                        "cannot be told from a snapshot's weights and are taken to be the default ones")
    parser.add_argument("--workdir", required=True, help="run folder to write, for merge_weights.py --detector")
    parser.add_argument("--class-index", type=int, default=0, metavar="N",
                        help="which of its classes to find (default: 0, a person in COCO)")
    return parser
