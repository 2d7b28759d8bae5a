"""The web demo, on this computer alone unless told otherwise: see --help."""

from multiposenet.commands.demo import main

if __name__ == "__main__":
    raise SystemExit(main())
