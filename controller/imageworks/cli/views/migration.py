"""What a migration brings, or would bring, for people and as JSON."""

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from imageworks.migration.model import LegacyFile, MigrationCommit, Tally
    from imageworks.operations.migrate import Committed, Migrated

FORMAT_VERSION: Final = 1
WORDS: Final = {
    "kept": "kept",
    "changed": "said otherwise",
    "same": "said by the entry",
    "legacy": "below metadata.legacy",
    "outside": "outside git",
    "empty": "empty",
}


def migration_lines(result: "Migrated", *, dry_run: bool, verbose: bool) -> "Iterator[str]":
    """Yield what was migrated, or would be, a line each."""
    for file in result.folder.files:
        yield f"read {file.name}: {_count(len(file.records), 'model')}, {_date(file)}"
    for name, why in result.folder.passed:
        yield f"passed over {name}: {why}"
    if not result.commits:
        yield f"No changes. All of it was migrated to {result.root} before."
        return
    yield ""
    yield from _model_lines(result, verbose=verbose)
    for name in result.migration.snapshot_only:
        yield f"! {name}: only in the merged snapshot, in neither layer; not migrated"
    for path, why in result.kept.items():
        yield f"kept {path}: {why}; the predecessor's word on it was left out"
    yield ""
    for commit in result.commits:
        yield _commit_line(commit)
    last = result.migration.steps[-1]
    totals = _totals(last)
    counted = ", ".join(f"{totals[key]} {words}" for key, words in WORDS.items() if totals[key])
    yield f"Fields: {counted}."
    where = f"{result.root} for {result.host}"
    entries = "1 entry" if len(last.found) == 1 else f"{len(last.found)} entries"
    done = f"{_count(len(last.declared), 'manifest')}, {entries}, {_count(len(result.commits), 'commit')}"
    yield f"Plan: {done} to {where}. Nothing was written." if dry_run else f"Migrated: {done} in {where}."
    if result.before and not dry_run:
        yield f"Resumed after {result.before} of {len(result.migration.steps)} commits."


def _model_lines(result: "Migrated", *, verbose: bool) -> "Iterator[str]":
    last = result.migration.steps[-1]
    there = {here: old for old, here in result.migration.names.items()}
    for name in sorted({*last.declared, *last.found}):
        declaration = last.declared.get(name)
        entry = last.found.get(name)
        was = f", there {there[name]!a}" if name in there else ""
        yield f"+ {name}  ({declaration.source if declaration else 'discovered only'}{was})"
        if declaration:
            yield from _tally_lines("manifest", declaration.tally, verbose=verbose)
        if entry:
            yield from _tally_lines("entry", entry.tally, verbose=verbose)
    earlier = {name for step in result.migration.steps for name in (*step.declared, *step.found)}
    for name in sorted(earlier - set(last.declared) - set(last.found)):
        yield f"- {name}  (in backups only: history has it)"


def _tally_lines(kind: str, tally: "Tally", *, verbose: bool) -> "Iterator[str]":
    counts = tally.counts()
    yield f"    {kind}: " + ", ".join(f"{counts[key]} {words}" for key, words in WORDS.items() if counts[key])
    for field, why in tally.legacy.items():
        yield f"        legacy {field}: {why}"
    for field, how in tally.changed.items() if verbose else ():
        yield f"        changed {field}: {how}"


def _commit_line(commit: "Committed") -> str:
    when = f"{commit.when:%Y-%m-%d %H:%M:%S} UTC" if commit.when else "now"
    changes = f"+{len(commit.added)} ~{len(commit.changed)} -{len(commit.removed)}"
    return f"{(commit.id or '(dry run)')[:10]:10}  {when:23}  {changes:12}  {commit.title}"


def _date(file: "LegacyFile") -> str:
    origin = "by its name" if file.dated_by == "name" else "when it was last written"
    return f"{file.when:%Y-%m-%d %H:%M:%S} UTC {origin}" if file.backup else "valid now"


def _count(number: int, word: str) -> str:
    return f"{number} {word}" if number == 1 else f"{number} {word}s"


def _totals(last: "MigrationCommit | None") -> dict[str, int]:
    if last is None:
        return dict.fromkeys(WORDS, 0)
    tallies = [one.tally.counts() for one in last.declared.values()]
    tallies += [one.tally.counts() for one in last.found.values()]
    return {key: sum(counts[key] for counts in tallies) for key in WORDS}


def migration_document(result: "Migrated", *, dry_run: bool) -> dict[str, object]:
    r"""Return the whole report in JSON\'s data model."""
    last = result.migration.steps[-1] if result.migration.steps else None
    there = {here: old for old, here in result.migration.names.items()}
    return {
        "format_version": FORMAT_VERSION,
        "registry": str(result.root),
        "host": result.host,
        "dry_run": dry_run,
        "registry_made": result.made,
        "changed": bool(result.commits),
        "steps_done_before": result.before,
        "files": [
            {
                "name": file.name,
                "layer": file.layer.value,
                "backup": file.backup,
                "when": file.when.isoformat(),
                "dated_by": file.dated_by,
                "sha256": file.sha256,
                "models": len(file.records),
            }
            for file in result.folder.files
        ],
        "passed_over": [{"name": name, "reason": why} for name, why in result.folder.passed],
        "commits": [
            {
                "id": commit.id,
                "when": commit.when.isoformat() if commit.when else None,
                "title": commit.title,
                "files": list(commit.files),
                "added": list(commit.added),
                "changed": list(commit.changed),
                "removed": list(commit.removed),
            }
            for commit in result.commits
        ],
        "models": list(_model_documents(last, there)) if last else [],
        "snapshot_only": list(result.migration.snapshot_only),
        "kept": dict(result.kept),
        "fields": _totals(last),
    }


def _model_documents(last: "MigrationCommit", there: "Mapping[str, str]") -> "Iterator[dict[str, object]]":
    for name in sorted({*last.declared, *last.found}):
        declaration = last.declared.get(name)
        entry = last.found.get(name)
        yield {
            "name": name,
            "legacy_name": there.get(name, name),
            "source": declaration.source if declaration else None,
            "manifest": declaration.tally.document() if declaration else None,
            "entry": entry.tally.document() if entry else None,
        }
