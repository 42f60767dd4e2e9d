"""Record the models that Ollama has: ``imageworks-models import-ollama`` under the name that scripts know."""

import sys

from imageworks.cli.app import run

sys.exit(run(["import-ollama", *sys.argv[1:]]))
