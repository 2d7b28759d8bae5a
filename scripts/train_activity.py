"""Train the activity classifier: see --help."""

from multiposenet.commands.train import activity

if __name__ == "__main__":
    raise SystemExit(activity())
