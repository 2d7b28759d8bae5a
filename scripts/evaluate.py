"""COCO figures of a results file: see --help."""

from multiposenet.commands.evaluate import main

if __name__ == "__main__":
    raise SystemExit(main())
