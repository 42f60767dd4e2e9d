"""A program for a terminal of its own: forty models, four at once, as far as what is asked for."""

import sys
import time
from pathlib import Path

from imageworks.cli.output import complain
from imageworks.cli.streams import prepare_streams
from imageworks.cli.views.progress import show_progress

MIB = 1024 * 1024
MODELS, AT_ONCE = 40, 4


def main(reached: Path, leave: Path) -> None:
    """Run until half of the models are done, say so, and go on once somebody has looked."""
    prepare_streams()
    try:
        with show_progress() as progress:
            for at in range(MODELS):
                progress.expect(f"model-{at:02d}-instruct-with-a-name-that-is-long-gguf-q4_k_m", 10 * MIB)
            names = [f"model-{at:02d}-instruct-with-a-name-that-is-long-gguf-q4_k_m" for at in range(MODELS)]
            for name in names[: MODELS // 2]:
                progress.start(name, 10 * MIB)
                progress.advance(name, 10 * MIB)
                progress.finish(name)
            progress.reuse(names[0], 3 * MIB)
            for name in names[MODELS // 2 : MODELS // 2 + AT_ONCE]:
                progress.start(name, 10 * MIB)
                progress.advance(name, 5 * MIB)
            progress.note("hub", "a note above")
            reached.touch()
            for _ in range(600):
                if leave.exists():
                    break
                time.sleep(0.1)
    except KeyboardInterrupt:
        complain("interrupted; what came so far is kept")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
