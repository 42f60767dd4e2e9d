"""``python -m imageworks`` is the same program as ``imageworks-models``."""

from imageworks.cli.app import main

if __name__ == "__main__":
    main()
