"""Merge four trained heads into one model: see --help."""

from multiposenet.commands.merge import main

if __name__ == "__main__":
    raise SystemExit(main())
