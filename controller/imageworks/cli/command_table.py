"""All commands: what each is called, where it is, and what it does in a sentence. Light, so that ``--help`` is quick.

A command's module is imported when it is needed. The sentence is the first line of the command's own docstring.
"""

from typing import Final, NamedTuple

GET: Final = "Get"
DECLARE: Final = "Declare"
FOLLOW: Final = "Follow"
LOOK_BACK: Final = "Look back"
SERVE: Final = "Serve"
FLEET: Final = "Fleet"
MAINTAIN: Final = "Maintain"
PREDECESSOR: Final = "From the earlier tool"
MAIN_GROUPS: Final = (GET, DECLARE, FOLLOW, LOOK_BACK, SERVE, FLEET)
MORE_GROUPS: Final = (MAINTAIN, PREDECESSOR)


class CommandRow(NamedTuple):
    """One command of the command line."""

    name: str
    place: str
    """Module below ``cli/commands`` and function, or its group of commands, as ``follow.list:list_command``."""
    group: str
    summary: str
    aliases: tuple[tuple[str, ...], ...] = ()
    """Other words for it; further words of one are options that it stands for."""


COMMANDS: Final = (
    CommandRow(
        "download",
        "get.download:download_command",
        GET,
        "Download a model, verify every byte, and declare it.",
        (("pull",),),
    ),
    CommandRow("search", "get.search:search_command", GET, "Find models on the hub."),
    CommandRow("analyze", "get.analyze:analyze_command", GET, "Show what a repository holds and what would come."),
    CommandRow("scan", "get.scan:scan_command", GET, "Record the models that folders of this machine hold."),
    CommandRow("import-ollama", "get.import_ollama:import_command", GET, "Record the models that Ollama has."),
    CommandRow("init", "declare.init:init_command", DECLARE, "Make a registry, the git folder of what you declare."),
    CommandRow("promote", "declare.promote:promote_command", DECLARE, "Write manifests for models without one."),
    CommandRow("pin", "declare.updates:pin_command", DECLARE, "Turn branches and tags in manifests into commit ids."),
    CommandRow("outdated", "declare.updates:outdated_command", DECLARE, "Show what has moved on upstream."),
    CommandRow("update", "declare.updates:update_command", DECLARE, "Move pins to what is newest upstream."),
    CommandRow("validate", "declare.validate:validate_command", DECLARE, "Check manifests and settings for mistakes."),
    CommandRow("config", "declare.config:config_command", DECLARE, "Show every setting and where it comes from."),
    CommandRow(
        "reconcile",
        "follow.reconcile:reconcile_command",
        FOLLOW,
        "Make this machine as declared: plan, ask, apply, commit.",
        (("plan", "--dry-run"), ("apply",)),
    ),
    CommandRow("status", "follow.status:status_command", FOLLOW, "Show which models are as declared, and why not."),
    CommandRow(
        "doctor",
        "follow.doctor:doctor_command",
        FOLLOW,
        "Check this machine: programs, hub, token, folders, space, git, locks, records.",
    ),
    CommandRow("list", "follow.list:list_command", FOLLOW, "List the models of this machine.", (("ls",),)),
    CommandRow("page", "follow.page:page_command", FOLLOW, "Write the registry as a page to look at."),
    CommandRow("verify", "follow.verify:verify_command", FOLLOW, "Compare every recorded byte with the disk."),
    CommandRow(
        "remove", "follow.remove:remove_command", FOLLOW, "Remove a model, its files or its record.", (("rm",),)
    ),
    CommandRow("clean", "follow.clean:clean_command", FOLLOW, "Remove what interrupted runs left behind."),
    CommandRow("locations", "declare.locations:app", FOLLOW, "Show the places of models and whether they are there."),
    CommandRow("history", "look_back.history:history_command", LOOK_BACK, "Show the commits that changed a model."),
    CommandRow("diff", "look_back.history:diff_command", LOOK_BACK, "Compare two states of the registry."),
    CommandRow("show", "look_back.history:show_command", LOOK_BACK, "Show a model as it is, or was at a revision."),
    CommandRow("blame", "look_back.history:blame_command", LOOK_BACK, "Show which commit set each field of a model."),
    CommandRow("restore", "look_back.restore:restore_command", LOOK_BACK, "Bring models back as they were."),
    CommandRow("rollback", "look_back.restore:rollback_command", LOOK_BACK, "Undo what the last reconcile did."),
    CommandRow("list-roles", "serve.list_roles:list_roles_command", SERVE, "List which models serve which role."),
    CommandRow("resolve", "serve.serving:resolve_command", SERVE, "Print the model that a role means."),
    CommandRow("launch", "serve.serving:launch_command", SERVE, "Start vLLM, LMDeploy or Ollama with a model."),
    CommandRow("serve", "serve.serving:serve_command", SERVE, "Serve the models at /v1/models, and the page at /."),
    CommandRow("hub", "serve.hub:app", SERVE, "Serve local models the way the Hugging Face Hub does."),
    CommandRow("fleet", "fleet.fleet:app", FLEET, "Show all hosts and what each has of the models."),
    CommandRow("hosts", "fleet.hosts:app", FLEET, "List, retire and rename the hosts of a registry."),
    CommandRow("export", "fleet.export:app", FLEET, "Write the files of other programs, as text."),
    CommandRow(
        "help",
        "maintain.help:help_command",
        MAINTAIN,
        "Explain a command or the code of an error, or list all commands.",
    ),
    CommandRow("stats", "follow.stats:stats_command", MAINTAIN, "Count models and the room that they take."),
    CommandRow("snapshot", "look_back.snapshot:app", MAINTAIN, "Check, rebuild and merge the generated snapshots."),
    CommandRow("schema", "declare.schema:schema_command", MAINTAIN, "Print the JSON Schema of a document."),
    CommandRow(
        "normalize-formats",
        "maintain.maintenance:normalize_command",
        MAINTAIN,
        "Detect again what recorded models are.",
    ),
    CommandRow(
        "purge-deprecated",
        "maintain.maintenance:purge_deprecated_command",
        MAINTAIN,
        "Remove the entries of deprecated models.",
    ),
    CommandRow(
        "prune-duplicates",
        "maintain.maintenance:prune_duplicates_command",
        MAINTAIN,
        "Remove entries that say less than another.",
    ),
    CommandRow(
        "reset-discovered",
        "maintain.maintenance:reset_discovered_command",
        MAINTAIN,
        "Remove the entries of a backend, to record them anew.",
    ),
    CommandRow(
        "purge-hf", "maintain.maintenance:purge_hf_command", MAINTAIN, "Remove the entries below the weights root."
    ),
    CommandRow(
        "purge-logical-only",
        "maintain.maintenance:purge_logical_only_command",
        MAINTAIN,
        "Remove the entries of models without files.",
    ),
    CommandRow("migrate", "get.migrate:migrate_command", PREDECESSOR, "Turn the earlier tool's files into a registry."),
    CommandRow(
        "restore-ollama",
        "look_back.restore:restore_ollama_command",
        PREDECESSOR,
        "Bring entries of Ollama's models back.",
    ),
    CommandRow(
        "backfill-ollama-paths",
        "maintain.maintenance:backfill_command",
        PREDECESSOR,
        "Give entries of Ollama's models a path.",
    ),
    CommandRow(
        "preview-simple-slugs",
        "maintain.simple_slugs:preview_command",
        PREDECESSOR,
        "Show the simple name that each model would get.",
    ),
    CommandRow(
        "apply-simple-slugs",
        "maintain.simple_slugs:apply_command",
        PREDECESSOR,
        "Give each model its simple name.",
    ),
)
"""In the order of ``--help``."""

BY_NAME: Final = {row.name: row for row in COMMANDS}
ALIASES: Final = {words[0]: (row.name, *words[1:]) for row in COMMANDS for words in row.aliases}
"""The words that each alias stands for."""
