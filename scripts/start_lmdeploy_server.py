"""Serve a model with LMDeploy, as `imageworks-models launch lmdeploy` does.

A missing chat template or generation config is told first: replies would be blank, or mix up roles.
"""

import argparse
import sys

from imageworks.cli.app import run


def main() -> int:
    """Return the exit code of what could not be started; the server takes this process over."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True, help="the path of the weights, or a name of the registry")
    parser.add_argument("--print", action="store_true", help="print the command line and run nothing")
    known, rest = parser.parse_known_args()
    options = [*(["--print"] if known.print else [])]
    return run(["launch", "lmdeploy", *options, "--", known.model, *(word for word in rest if word != "--")])


if __name__ == "__main__":
    sys.exit(main())
