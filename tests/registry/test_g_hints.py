"""G13: each hint of `validate` is followed by machine, by its words alone; then that problem is gone."""

import re

import pytest

from imageworks.registry.documents.diagnostic import Diagnostic
from imageworks.registry.validate import check_manifest, check_settings_file

V = "schema_version: 1\n"
MANIFESTS = (
    "schema_version: 01\nbackend: vllm\n",
    "schema_version: '1'\n",
    "schema_version: 1.0\n",
    "schema_version: v1\n",
    "schema_version: 2\n",
    "schema_version: 0x1\n",
    "schema_version: \u0661\n",
    "backend: vllm\n",
    f"{V}prune: false\n",
    f"{V}prune: true\n",
    f"{V}prune: no\n",
    f"{V}prune: off\n",
    f"{V}prune: never\n",
    f"{V}prune: 1\n",
    f"{V}state: false\n",
    f"{V}state: true\n",
    f"{V}backend: VLLM\n",
    f"{V}backend: vll\u043c\n",
    f"{V}backend: 7\n",
    "sch\u0435ma_version: 1\nbackend: vllm\n",
    "schemaversion: 1\n",
    f"{V}back\u0435nd: vllm\n",
    f"{V}Source: {{huggingface: a/b}}\n",
    f"{V}source: {{huggingface: acm\u0435/x}}\n",
    f"{V}source: {{hugging_face: a/b}}\n",
    f"{V}source:\n  huggingface: https://huggingface.co/acme/x\n",
    f"{V}source:\n  huggingface: acme/x@main\n",
    f"{V}source: {{huggingface: acme/x, revision: 12345}}\n",
    f"{V}source: {{huggingface: a/b, ollama: x}}\n",
    f"{V}deprecated: yes\n",
    f"{V}deprecated: 'true'\n",
    f"{V}roles: caption\n",
    f"{V}hosts: workstation\n",
    f"{V}location: 5\n",
    f"{V}labels: {{a: 1}}\n",
    f"{V}backend_config: {{port: '80'}}\n",
    f"{V}backend_config: {{port: 080}}\n",
    f"{V}display_name:\n",
    f"{V}quant: q4\n",
    f"{V}foo: 1\n",
    f"{V}backend: vllm\nbackend: vllm\n",
    f"{V}display_name: @x\n",
    f"{V}display_name: `x`\n",
    f"{V}display_name: 'it's'\n",
    f"{V}display_name: a: b\n",
    f"{V}display_name: *a\n",
    f"{V}display_name: &a b\n",
    f"{V}display_name: !t b\n",
    f"{V}backend:vllm\n",
    f"%YAML 1.1\n---\n{V}",
    f"{V}true: 1\n",
    f"<<<<<<< HEAD\n{V}backend: vllm\n=======\n{V}backend: ollama\n>>>>>>> topic\n",
    f"{V}<<<<<<< HEAD\nbackend: vllm\n||||||| base\n=======\nbackend: ollama\n>>>>>>> topic\n",
    f"{V}display_name: a\u200bb\n",
    f"\ufeff{V}",
)
SETTINGS = (
    "schema_version: 01\n",
    f"{V}prune: yes\n",
    f"{V}prune: disabled\n",
    f"{V}pruen: true\n",
    f"{V}routing: {{default: weights}}\nlocations: {{wieghts: {{path: /x}}}}\n",
    f"{V}transfer: {{connections: '08'}}\n",
    f"{V}hosts: {{Box: {{}}, box: {{}}}}\n",
    f"{V}commit: {{push: 'on'}}\n",
)


def follow(text: str, found: Diagnostic) -> str:  # noqa: C901, PLR0912, PLR0915 # one branch a form of words
    """Return a document after what a diagnostic says, done by somebody who knows nothing else of it."""
    lines, remedy, message = text.split("\n"), found.remedy, found.message
    line = lines[found.line - 1] if found.line <= len(lines) else ""
    at, here = found.column - 1, found.line - 1

    def spelt(new: str) -> str:
        """Put something in the place of what stands at the column."""
        old = re.match(r"'[^']*'|\"[^\"]*\"|\[[^]]*\]|\{[^}]*\}|[^,}\n]*", line[at:])
        assert old is not None
        return line[:at] + new + line[at + len(old[0]) :]

    if match := re.match(r"add `([^`]*)`", remedy):
        lines.insert(0, match[1])
    elif match := re.match(r'did you mean "([^"]*)"\?', remedy):
        renamed = line[:at] + re.sub(r"\A[^:]*", match[1], line[at:])
        lines[here] = renamed if message.startswith("unknown key") else spelt(match[1])
    elif match := re.match(r"write the repository alone: (\S+)", remedy):
        lines[here] = spelt(match[1])
    elif match := re.match(r"write `huggingface: ([^`]*)` and `revision: ([^`]*)`", remedy):
        lines[here] = spelt(match[1])
        lines.insert(here + 1, " " * (len(line) - len(line.lstrip())) + f"revision: {match[2]}")
    elif match := re.match(r"write it as a list: (.*)", remedy):
        lines[here] = spelt(match[1])
    elif match := re.match(r"write (\".*\") in quotes", remedy):
        old = re.match(r"[^,:}\n]*", line[at:])
        assert old is not None
        lines[here] = line[:at] + match[1] + line[at + len(old[0]) :]
    elif remedy.startswith("write a quote inside single quotes twice"):
        start = line.index("'")
        lines[here] = line[: start + 1] + line[start + 1 : -1].replace("'", "''") + "'"
    elif match := re.match(r"write `key: value`", remedy):
        here = max(number for number, one in enumerate(lines[:here]) if re.search(r":\S", one))  # told behind it
        lines[here] = re.sub(r":(?=\S)", ": ", lines[here], count=1)
    elif match := re.match(r"write the value out, or put the text in quotes|remove it, or put the text in", remedy):
        lines[here] = f'{line[:at]}"{line[at:]}"'
    elif match := re.match(r"write (true or false|[^;]+?)(?: without quotes|;|$)", remedy):
        lines[here] = spelt(match[1].partition(" or ")[0])
    elif match := re.match(r"(?:values|keys|locations) [^:]*: ([^,]+)", remedy):
        lines[here] = spelt(match[1]) if "value" in remedy else re.sub(r"\A[^:]*", match[1], line)
    elif match := re.search(r"For example: (.*)", remedy):
        lines[here] = spelt(match[1])
    elif match := re.match(r"give exactly one of (\w+)", remedy):
        kept = re.search(rf"{match[1]}: [^,}}]+", line)
        assert kept is not None
        lines[here] = re.sub(r"\{.*\}", "{" + kept[0] + "}", line)
    elif re.match(r"put the text(?: that contains `: `)? in quotes", remedy):
        key, _, value = line.partition(": ")
        lines[here] = f'{key}: "{value}"'
    elif remedy.startswith(("keep one of them", "give a value, or remove the key", "remove the line")):
        del lines[here]
    elif remedy.startswith("remove one"):
        lines[here] = re.sub(r", [^,{]*\{\}", "", line)
    elif remedy.startswith("keep the lines of one side"):
        return re.sub(r"<{7}[^\n]*\n(.*?)(?:\|{7}.*?)?={7}\n.*?>{7}[^\n]*\n", r"\1", text, flags=re.DOTALL)
    elif remedy.startswith(("delete it", "save it as UTF-8 without BOM")):
        lines[here] = re.sub("[\u200b\ufeff]", "", line)
    else:
        raise AssertionError(f"nobody can follow this: {found}")
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("kind", "text"), [*(("manifest", text) for text in MANIFESTS), *(("settings", text) for text in SETTINGS)]
)
def test_g13_a_hint_that_is_followed_makes_its_problem_go_away(kind: str, text: str) -> None:
    file = "models/m.yaml" if kind == "manifest" else "registry.yaml"
    check = check_manifest if kind == "manifest" else check_settings_file
    for _ in range(6):
        found = check(file, text.encode()).diagnostics
        if not found:
            return
        after = follow(text, found[0])
        left = check(file, after.encode()).diagnostics
        assert after != text, found[0]
        assert (found[0].message, found[0].line) not in {(one.message, one.line) for one in left}, (found[0], after)
        text = after
    raise AssertionError(f"never valid: {text!r}")


@pytest.mark.parametrize(
    ("text", "line", "column", "said"),
    [
        (f"{V}backend: vllm\n<<<<<<< HEAD\nroles: [a]\n=======\n>>>>>>> x\n", 3, 1, "conflict"),
        ("schema_version: 01\n", 1, 17, "leading zero"),
        (f"{V}prune: false\n", 2, 8, "false"),
        (f"{V}b\u0430ckend: vllm\n", 2, 1, "U+0430 for a"),
        (f"{V}display_name: 'it's'\n", 2, 19, "closing quote"),
    ],
)
def test_g13_problems_are_named_as_what_they_are_at_their_line(text: str, line: int, column: int, said: str) -> None:
    found = check_manifest("models/m.yaml", text.encode()).diagnostics[0]
    assert (found.line, found.column) == (line, column)
    assert said in found.message
