"""Draw people, joints and activities on your own pictures: see --help."""

from multiposenet.commands.infer import main

if __name__ == "__main__":
    raise SystemExit(main())
