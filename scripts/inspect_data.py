"""Inspect a COCO-format set: see --help."""

from multiposenet.commands.inspect_data import main

if __name__ == "__main__":
    raise SystemExit(main())
