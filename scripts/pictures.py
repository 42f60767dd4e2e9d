"""Make the pictures of terminal and page: ``make pictures``.

A scratch registry gets the quickstart's real model and a few made-up ones, through the program itself. The terminal is
a real one whose screen is read, and becomes SVG; the page is shown by Debian's Chromium. What depends on the machine
(times, free space, commits) is replaced by fixed values, so that a picture changes only where the program does.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from itertools import groupby
from pathlib import Path
from typing import Final

import pyte
import quickstart
from pyte.screens import Char

from support.screen import Screen
from support.weights import ARRAY, F32, STRING, U32, gguf_file, safetensors_file

ROOT: Final = Path(__file__).resolve().parent.parent
KEPT: Final = ROOT / "docs/pictures"
ALL: Final = ROOT / "build/pictures"
COLUMNS: Final = 100
LINES: Final = 100
BROWSERS: Final = ("chromium", "chromium-browser", "google-chrome")
VIEWS: Final = ("index", "disks", "fit", "history", "hosts", "rules", "model")
KEPT_VIEWS: Final = ("index-1600-light", "disks-1600-light")
"""Views that README and documentation show; the others are for people to look at."""
FIXED: Final = (
    (rb"\d+\.\d GiB now, \d+\.\d GiB after", b"212.4 GiB now, 212.3 GiB after"),
    (rb"on \w+, \d+\.\d GiB free", b"on ext4, 212.4 GiB free"),
    (rb"\d+\.\d+\.\d+ at /\S+/aria2c", b"1.37.0 at /usr/bin/aria2c"),
    (rb"committed [0-9a-f]{10}", b"committed 5a1d5a1d5a"),
    (rb"5\d %( +)\d\d\.\d/87\.4 MiB( +)\d+\.\d MiB/s( +)\d:\d\d", rb"52 %\g<1>45.6/87.4 MiB\g<2>10.0 MiB/s\g<3>0:03"),
    (rb"in \d:\d\d \(\d+\.\d MiB/s\)", b"in 0:01 (80.0 MiB/s)"),
)
MODEL: Final = "all-minilm-l6-v2-vllm"
HALF_WAY: Final = re.compile(r"\b5\d %")
DAY: Final = 86_400
FIRST_DAY: Final = 1_772_000_000
SETTINGS: Final = """
policies:
  allowed_licenses: [apache-2.0, mit]
  exceptions:
    - name: acme-caption-0.3b-vllm
      policy: allowed_licenses
      reason: a trial, agreed with the legal team
      expires: "2099-12-24"
hosts:
  workstation: {labels: {gpu: rtx4090}}
  gpu-01: {labels: {gpu: h100}}
"""
MADE_UP: Final = {
    "acme-chat-0.5b-gguf": ("acme/chat-0.5b-instruct-gguf", "gguf", "[chat]", "apache-2.0"),
    "acme-caption-0.3b-vllm": ("acme/caption-0.3b", "vllm", "[caption]", "acme-research"),
    "acme-rerank-small-vllm": ("acme/rerank-small", "vllm", "[rerank]", "mit"),
    "acme-speech-tiny-vllm": ("acme/speech-tiny", "vllm", "[transcribe]", "apache-2.0"),
}
DENIED: Final = ("acme-draw-1b-vllm", ("acme/draw-1b", "vllm", "[draw]", "acme-research"))


def main() -> int:
    """Make all pictures: those that the documentation shows below docs/pictures, all below build/pictures."""
    shutil.rmtree(ALL, ignore_errors=True)
    make(ALL, real=True)
    KEPT.mkdir(exist_ok=True)
    for name in (*(path.name for path in ALL.glob("*.svg")), *(f"{name}.webp" for name in KEPT_VIEWS)):
        if (ALL / name).exists():
            shutil.copy(ALL / name, KEPT / name)
    size = sum(path.stat().st_size for path in KEPT.iterdir())
    print(f"{ALL}: {len(list(ALL.iterdir()))} pictures; {KEPT}: {size / 1024:.0f} KiB")
    return 0


def make(out: Path, *, real: bool, views: Sequence[str] = VIEWS) -> None:
    """Make the pictures in a folder.

    Args:
        out: Where to.
        real: Whether the quickstart's model is fetched from the package index and made-up ones have believable sizes.
        views: Which views of the page.
    """
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="pictures-") as scratch:
        home = Path(scratch, "ada")
        hub = Path(scratch, "hub")
        for repository, content in made_up_models(1 if real else 4096).items():
            write(hub / repository, content)
        if real:
            quickstart.SCRATCH.mkdir(exist_ok=True)
            quickstart.fetch_model(quickstart.SCRATCH / "hub")
            shutil.copytree(quickstart.SCRATCH / "hub", hub, dirs_exist_ok=True)
        else:
            write(hub / quickstart.REPOSITORY, made_up_models(4096)["acme/rerank-small"])
        home.mkdir()
        quickstart.SCRATCH = home.parent
        with quickstart.served(hub, Path(sys.executable).parent) as endpoint:
            World(home, endpoint, out).play(views)


class World:
    """The scratch registry.

    Args:
        home: The home of the person who works there.
        endpoint: The hub.
        out: Where pictures go.
    """

    def __init__(self, home: Path, endpoint: str, out: Path) -> None:
        self.home, self.endpoint, self.out = home, endpoint, out
        self.registry = home / "ai-models/registry"
        programs = Path(sys.executable).parent
        foreign = ("IMAGEWORKS_", "HF_", "GIT_", "XDG_", "OLLAMA_")
        self.environment = {
            **{key: value for key, value in os.environ.items() if not key.startswith(foreign)},
            "HOME": str(home),
            "PATH": f"{programs}:{os.environ['PATH']}",
            "TERM": "xterm-256color",
            "TZ": "UTC",
            "HF_ENDPOINT": endpoint,
            "HF_HUB_DISABLE_IMPLICIT_TOKEN": "1",
            "IMAGEWORKS_HOST": "workstation",
            "OLLAMA_HOST": "127.0.0.1:9",
        }

    def play(self, views: Sequence[str]) -> None:
        """Do what the pictures tell, and make them."""
        (self.home / ".gitconfig").write_text("[user]\n\tname = Ada\n\temail = ada@example.org\n")
        self.run("imageworks-models", "init", str(self.registry))
        settings = self.registry / "registry.yaml"
        settings.write_text(re.sub(r"(?m)^hosts:\n(?: .*\n)*", "", settings.read_text()) + SETTINGS)
        for name, said in MADE_UP.items():
            self.declare(name, *said)
        self.run("imageworks-models", "reconcile", "--yes")
        self.on_another_host("reconcile", "--yes", *list(MADE_UP)[1:3])
        self.declare(MODEL, quickstart.REPOSITORY, "vllm", "[embedding]", "apache-2.0")
        self.declare(DENIED[0], *DENIED[1])
        self.picture("first-screen")
        self.picture("plan", "reconcile", "--dry-run")
        self.limit_downloads("10M")
        self.picture("progress", "reconcile", "--yes", MODEL, until=HALF_WAY)
        self.run("git", "reset", "--quiet", "--hard", "HEAD~1")
        self.run("imageworks-models", "reconcile", "--yes", MODEL)
        self.picture("list", "list")
        self.picture("doctor", "doctor")
        self.picture("error", "reconcile", "acme-capton-0.3b-vllm")
        damaged = self.home / "ai-models/weights/acme/rerank-small/config.json"
        damaged.write_text("{}")
        self.picture("status", "status")
        self.spread_commits()
        self.page_pictures(views)

    def declare(self, name: str, repository: str, backend: str, roles: str, licence: str) -> None:
        """Write a manifest and commit it."""
        lines = ("schema_version: 1", f"source: {{huggingface: {repository}, revision: main}}", f"backend: {backend}")
        text = "\n".join((*lines, "location: linux_wsl", f"roles: {roles}", f"license: {licence}", ""))
        (self.registry / f"models/{name}.yaml").write_text(text)
        self.run("git", "add", "--all")
        self.run("git", "commit", "--quiet", "--message", f"Declare {name}")

    def on_another_host(self, *words: str) -> None:
        """Run a command as a second host would, whose disks are others."""
        folders = {name: str(self.home.parent / "gpu-01" / name.lower()) for name in ("MODEL_ROOT", "STATE_DIR")}
        more = {f"IMAGEWORKS_{name}": folder for name, folder in folders.items()}
        self.run("imageworks-models", *words, IMAGEWORKS_HOST="gpu-01", **more)

    def run(self, *words: str, **more: str) -> None:
        """Run a program; what it says matters only if it fails."""
        folder = self.registry if self.registry.exists() else self.home
        done = subprocess.run(
            words, env=self.environment | more, cwd=folder, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise SystemExit(f"{' '.join(words)}\n{done.stdout}{done.stderr}")

    def limit_downloads(self, limit: str) -> None:
        """Commit how fast downloads are, so that one can be seen under way."""
        settings = self.registry / "registry.yaml"
        settings.write_text(re.sub("limit: \\w+", f"limit: {limit}", settings.read_text()))
        self.run("git", "commit", "--quiet", "--all", "--message", f"Set the limit of downloads to {limit}")

    def picture(self, name: str, *words: str, until: re.Pattern[str] | None = None) -> None:
        """Run a command on a terminal and keep a picture of its screen at the end, or once something stands there."""
        command = [str(Path(sys.executable).parent / "imageworks-models"), *words]
        environment = self.environment | {"IMAGEWORKS_REGISTRY_DIR": str(self.registry)}
        with Screen(command, (COLUMNS, LINES), environment) as screen:
            if until is not None:
                screen.wait(lambda: any(until.search(line) for line in screen.lines) or screen.ended)
            else:
                screen.end()
            shown = screen.raw.replace(str(self.home).encode(), b"~").replace(
                self.endpoint.encode(), b"https://huggingface.co"
            )
        drawn = draw(fixed(shown), " ".join(("imageworks-models", *words)))
        if str(self.home.parent) in drawn:
            raise SystemExit(f"{name}: a folder of this machine is in the picture")
        (self.out / f"{name}.svg").write_text(drawn, encoding="utf-8")

    def spread_commits(self) -> None:
        """Give the commits dates some days apart, so that the page's time line has something to show."""
        said = subprocess.run(("git", "fast-export", "HEAD"), cwd=self.registry, capture_output=True, check=True).stdout
        days = iter(range(FIRST_DAY, FIRST_DAY + 1000 * DAY, 9 * DAY))
        moved = re.sub(
            rb"(?m)^(author [^\n]*> )\d+ [+-]\d+\n(committer [^\n]*> )\d+ [+-]\d+$",
            lambda found: b"%b%d +0000\n%b%d +0000" % (found[1], when := next(days), found[2], when),
            said,
        )
        subprocess.run(("git", "fast-import", "--quiet", "--force"), cwd=self.registry, input=moved, check=True)

    def page_pictures(self, views: Sequence[str]) -> None:
        """Write the page and keep a picture of each view, narrow and wide, dark and light."""
        browser = next((path for path in map(shutil.which, BROWSERS) if path), None)
        if browser is None:
            print("no Chromium here, so no pictures of the page: apt install chromium")
            return
        folder = self.home.parent / "page"
        self.run("imageworks-models", "page", "--out", str(folder))
        for path in folder.rglob("*.html"):
            path.write_text(path.read_text().replace(str(self.home), "/home/ada"), encoding="utf-8")
        for name, content in screenshots(browser, folder, views):
            (self.out / f"{name}.webp").write_bytes(content)


def write(folder: Path, content: Mapping[str, bytes]) -> None:
    """Write files below a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in content.items():
        (folder / name).write_bytes(data)


def made_up_models(smaller: int) -> dict[str, dict[str, bytes]]:
    """Return made-up repositories: their files by name.

    Args:
        smaller: By how much the weights are smaller than believable.
    """
    pairs = [
        ("general.architecture", STRING, "llama"),
        ("general.name", STRING, "Acme Chat"),
        ("general.file_type", U32, 15),
        *((f"llama.{key}", U32, value) for key, value in GGUF_NUMBERS.items()),
        ("llama.attention.layer_norm_rms_epsilon", F32, 1e-5),
        ("tokenizer.ggml.tokens", ARRAY, (STRING, ("a", "b"))),
    ]
    tensors = [("token_embd.weight", (1024, 480_000 // smaller), 12, 0), ("output_norm.weight", (1024,), 0, 0)]
    found = {
        "acme/chat-0.5b-instruct-gguf": {
            "chat-0.5b-instruct-q4_k_m.gguf": gguf_file(pairs, tensors, data=bytes(397_800_000 // smaller)),
            "README.md": card("Chat 0.5B", "apache-2.0", "A small model for talk."),
        }
    }
    sizes = {"caption-0.3b": 612, "rerank-small": 133, "speech-tiny": 151, "draw-1b": 240}
    for name, size in sizes.items():
        rows = size * 1_000_000 // 2048 // smaller
        weights = {"model.embed_tokens.weight": ("BF16", (rows, 1024), rows * 2048)}
        licence = "mit" if name == "rerank-small" else "apache-2.0"
        found[f"acme/{name}"] = {
            "config.json": json.dumps(CONFIG).encode(),
            "model.safetensors": safetensors_file(weights),
            "tokenizer.json": b"{}",
            "README.md": card(name, licence, "Made up for a picture."),
        }
    return found


GGUF_NUMBERS: Final = {
    "context_length": 32768,
    "embedding_length": 1024,
    "block_count": 24,
    "feed_forward_length": 2816,
    "attention.head_count": 16,
    "attention.head_count_kv": 2,
}
CONFIG: Final = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "torch_dtype": "bfloat16",
    "hidden_size": 1024,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "num_key_value_heads": 4,
    "intermediate_size": 2816,
    "max_position_embeddings": 8192,
    "vocab_size": 32000,
}


def card(title: str, licence: str, text: str) -> bytes:
    """Return a model card."""
    table = "| measure | score |\n|---|---|\n| words right | 91.2 |\n"
    return f"---\nlicense: {licence}\nlanguage: [en]\n---\n# {title}\n\n{text}\n\n{table}".encode()


def fixed(raw: bytes) -> bytes:
    """Return a terminal's output with what depends on the machine replaced."""
    for pattern, instead in FIXED:
        raw = re.sub(pattern, instead, raw)
    return raw


def draw(raw: bytes, command: str) -> str:
    """Return what a terminal's output looks like as SVG that follows the reader's light or dark."""
    screen = pyte.Screen(COLUMNS, LINES)
    stream = pyte.ByteStream(screen)
    stream.feed(raw)
    rows = [[screen.buffer[line][column] for column in range(COLUMNS)] for line in range(LINES)]
    while rows and not "".join(cell.data for cell in rows[-1]).strip():
        rows.pop()
    lines = [f'<text x="16" y="28"><tspan class="p">$</tspan> {escape(command)}</text>']
    for number, row in enumerate(rows):
        spans = "".join(span(list(cells)) for _, cells in groupby(row, key=lambda cell: (cell.fg, cell.bold)))
        lines.append(f'<text x="16" y="{46 + 18 * number}">{spans.rstrip()}</text>')
    height = 46 + 18 * len(rows)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {32 + 8 * COLUMNS} {height}" role="img" '
        f'aria-label="{escape(command)}">\n<style>{STYLE}</style>\n<rect width="100%" height="100%" rx="8"/>\n'
        + "\n".join(lines)
        + "\n</svg>\n"
    )


STYLE: Final = (
    "text{font:13.3px ui-monospace,Menlo,Consolas,monospace;white-space:pre;fill:#1f2328}rect{fill:#f6f8fa}"
    ".p,.black,.brightblack{fill:#59636e}.red,.brightred{fill:#c2182b}.green,.brightgreen{fill:#116329}"
    ".brown,.brightbrown,.yellow{fill:#7d4e00}.blue,.brightblue{fill:#0757ba}.magenta{fill:#7a3ea8}.cyan,.brightcyan{fill:#0b6b78}"
    ".b{font-weight:700}@media (prefers-color-scheme:dark){text{fill:#e6edf3}rect{fill:#161b22}"
    ".p,.black,.brightblack{fill:#9198a1}.red,.brightred{fill:#ff8d86}.green,.brightgreen{fill:#56d364}"
    ".brown,.brightbrown,.yellow{fill:#e3b341}.blue,.brightblue{fill:#79b8ff}.magenta{fill:#d2a8ff}.cyan,.brightcyan{fill:#76e3ea}}"
)


def span(cells: Sequence[Char]) -> str:
    """Return cells of one look."""
    first = cells[0]
    text = escape("".join(cell.data for cell in cells))
    look = " ".join(word for word in (first.fg if first.fg != "default" else "", "b" if first.bold else "") if word)
    return f'<tspan class="{look}">{text}</tspan>' if look and text.strip() else text


def screenshots(browser: str, folder: Path, views: Sequence[str]) -> Iterator[tuple[str, bytes]]:
    """Yield each view's pictures by name, as WebP."""
    from base64 import b64decode

    from playwright.sync_api import sync_playwright

    model = next((folder / "models").glob("acme-chat*.html"))
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=browser, args=["--no-sandbox"], timeout=120_000)
        for width, height in ((360, 740), (1600, 1000)):
            for scheme in ("dark", "light"):
                context = chromium.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
                page = context.new_page()
                session = context.new_cdp_session(page)
                for view in views:
                    page.goto((model if view == "model" else folder / f"{view}.html").as_uri())
                    taken = session.send("Page.captureScreenshot", {"format": "webp", "quality": 70})
                    yield f"{view}-{width}-{scheme}", b64decode(taken["data"])
                context.close()
        chromium.close()


if __name__ == "__main__":
    sys.exit(main())
