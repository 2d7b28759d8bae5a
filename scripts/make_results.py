"""RESULTS.md from evaluations: see --help."""

from multiposenet.commands.make_results import main

if __name__ == "__main__":
    raise SystemExit(main())
