"""Turn labelled pictures into a table of poses for train_activity.py: see --help."""

from multiposenet.commands.build_activity_dataset import main

if __name__ == "__main__":
    raise SystemExit(main())
