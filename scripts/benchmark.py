"""Time engines on the same pictures: see --help."""

from multiposenet.commands.benchmark import main

if __name__ == "__main__":
    raise SystemExit(main())
