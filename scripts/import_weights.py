"""Import a keras-retinanet snapshot: see --help."""

from multiposenet.commands.import_weights import main

if __name__ == "__main__":
    raise SystemExit(main())
