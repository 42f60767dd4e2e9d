"""The module behind ``imageworks-loader``, under the name that scripts know; the commands are the command line's."""


def main() -> None:
    """Run the command line and exit with its code."""
    from imageworks.cli.scripts.loader import (
        main as run,  # here, so that this room needs nothing above it to be imported
    )

    run()


if __name__ == "__main__":
    main()
