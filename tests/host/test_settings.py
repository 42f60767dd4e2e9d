"""This host's settings: what wins over what, and what cannot be used."""

from pathlib import Path

import pytest

from imageworks.foundation.errors import ExitCode, UsageError
from imageworks.host import settings as config
from imageworks.host.setting_layers import KEYS, PROJECT_TABLE, ConfigurationError, Key, SettingType
from imageworks.host.settings import (
    DEFAULT_HUB,
    HostSettings,
    RegistryNotFoundError,
    find_registry,
    load_host_settings,
    user_config_file,
)


def write_config(text: str) -> Path:
    file = user_config_file()
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")
    return file


def project(folder: Path, text: str) -> Path:
    """Write a pyproject.toml with our table into a folder and return it."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "pyproject.toml"
    file.write_text(f"[tool.imageworks.model-downloader]\n{text}", encoding="utf-8")
    return file


def origin(settings: HostSettings, name: str) -> tuple[str, str]:
    return next((one.value, one.origin) for one in settings.settings if one.name == name)


def registry(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "registry.yaml").write_text("schema_version: 1\n", encoding="utf-8")
    return folder


# --- precedence --------------------------------------------------------------------------------------------------


def test_the_environment_wins_over_the_users_config(monkeypatch: pytest.MonkeyPatch) -> None:
    write_config('host = "from-config"\n')
    monkeypatch.setenv("IMAGEWORKS_HOST", "from-environment")
    settings = load_host_settings()
    assert settings.host == "from-environment"
    assert origin(settings, "host") == ("from-environment", "environment IMAGEWORKS_HOST")


def test_the_users_config_wins_over_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("IMAGEWORKS_HOST")
    file = write_config('host = "from-config"\n')
    assert origin(load_host_settings(), "host") == ("from-config", str(file))


def test_without_either_the_host_is_the_machines_short_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("IMAGEWORKS_HOST")
    monkeypatch.setattr("platform.node", lambda: "box.example.org")
    assert origin(load_host_settings(), "host") == ("box", "default")


def test_an_empty_variable_counts_as_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    write_config('host = "from-config"\n')
    monkeypatch.setenv("IMAGEWORKS_HOST", "")
    assert load_host_settings().host == "from-config"


def test_folders_follow_the_xdg_variables(isolated_environment: Path) -> None:
    settings = load_host_settings()
    assert settings.state_dir == isolated_environment / ".local/state/imageworks"
    assert settings.cache_dir == isolated_environment / ".cache/imageworks"
    assert settings.log_dir == settings.state_dir / "logs"


def test_a_relative_xdg_variable_is_ignored(isolated_environment: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", "relative")
    assert load_host_settings().state_dir == isolated_environment / ".local/state/imageworks"


def test_other_platforms_have_their_own_folders(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config, "PLATFORM", "darwin")
    monkeypatch.delenv("XDG_CONFIG_HOME")
    assert user_config_file().name == "config.toml"
    assert user_config_file().parent.name == "imageworks"


# --- the project around the current folder ------------------------------------------------------------------------

SEED = """\
linux_wsl_root = "~/ai-models"
windows_lmstudio_root = "/mnt/d/ai stuff/models/llm models"
max_connections = 16
preferred_formats = ["awq", "safetensors", "gguf"]
"""


def test_the_documented_table_works_as_it_stands(tmp_path: Path, isolated_environment: Path) -> None:
    file = project(tmp_path, SEED)
    settings = load_host_settings(start=tmp_path)
    assert settings.model_root == isolated_environment / "ai-models" / "weights"
    assert settings.lmstudio_root == Path("/mnt/d/ai stuff/models/llm models")
    assert settings.max_connections == 16
    assert settings.preferred_formats == ("awq", "safetensors", "gguf")
    assert settings.warnings == ()
    assert origin(settings, "max_connections") == ("16", str(file))
    assert origin(settings, "model_root")[1] == f"{file}, by linux_wsl_root"


@pytest.mark.parametrize("where", [".", "src", "src/deep er/still"])
def test_the_nearest_project_with_the_table_is_found(tmp_path: Path, where: str) -> None:
    project(tmp_path, "max_connections = 3\n")
    start = tmp_path / where
    start.mkdir(parents=True, exist_ok=True)
    if where != ".":
        (start / "pyproject.toml").write_text("[project]\nname = 'imageworks-other'\n", encoding="utf-8")
    assert load_host_settings(start=start).max_connections == 3


def test_a_nearer_project_wins_over_one_further_up(tmp_path: Path) -> None:
    project(tmp_path, "max_connections = 3\nmax_concurrent_downloads = 9\n")
    project(tmp_path / "inner", "max_connections = 5\n")
    settings = load_host_settings(start=tmp_path / "inner")
    assert (settings.max_connections, settings.max_concurrent_downloads) == (5, None)


def test_the_current_folder_is_where_the_search_begins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project(tmp_path, "max_connections = 3\n")
    monkeypatch.chdir(tmp_path)
    assert load_host_settings().max_connections == 3


def test_what_the_host_says_wins_over_the_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project(tmp_path, 'max_connections = 3\nmax_concurrent_downloads = 2\npreferred_formats = ["gguf"]\n')
    file = write_config("max_connections = 4\nmax_concurrent_downloads = 5\n")
    monkeypatch.setenv("IMAGEWORKS_MAX_DOWNLOADS", "6")
    settings = load_host_settings(start=tmp_path)
    assert origin(settings, "max_connections") == ("4", str(file))
    assert origin(settings, "max_concurrent_downloads") == ("6", "environment IMAGEWORKS_MAX_DOWNLOADS")
    assert settings.preferred_formats == ("gguf",)


def test_lists_in_the_environment_are_separated_by_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMAGEWORKS_PREFERRED_FORMATS", "AWQ, gguf ,")
    assert load_host_settings().preferred_formats == ("awq", "gguf")


def test_a_relative_root_counts_from_its_file(tmp_path: Path) -> None:
    project(tmp_path / "a project", 'linux_wsl_root = "models"\n')
    (tmp_path / "a project/src").mkdir()
    settings = load_host_settings(start=tmp_path / "a project/src")
    assert settings.model_root == tmp_path / "a project/models/weights"


def test_a_project_cannot_widen_the_roots_of_the_host(tmp_path: Path) -> None:
    """I8: a cloned repository may name any folder; nothing is put there until this host's owner allows it."""
    file = project(tmp_path / "clone", f'linux_wsl_root = "{tmp_path}/else where"\nwindows_lmstudio_root = "/etc"\n')
    settings = load_host_settings(start=file.parent)
    assert not settings.allows(tmp_path / "else where/weights/model")
    assert not settings.allows(Path("/etc/model"))
    first, second = settings.warnings
    assert first.startswith(f"{file}: linux_wsl_root leads to {tmp_path}/else where/weights")
    assert f"config --allow '{tmp_path}/else where/weights'" in first
    assert f"{file}: windows_lmstudio_root leads to /etc" in second


def test_a_root_of_a_project_that_the_owner_allowed_is_used_without_a_word(tmp_path: Path) -> None:
    config.allow_root(tmp_path / "else where")
    project(tmp_path / "mine", f'linux_wsl_root = "{tmp_path}/else where"\n')
    settings = load_host_settings(start=tmp_path / "mine")
    assert settings.allows(tmp_path / "else where/weights/model")
    assert settings.warnings == ()


@pytest.mark.parametrize("key", sorted(key.name for key in KEYS.values() if not key.project))
def test_a_project_cannot_say_what_is_the_hosts_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    """I7: the hub that gets the token, and the folders that state and log are written to, are not a repository's."""
    variable = KEYS[key].variable
    if variable:
        monkeypatch.delenv(variable, raising=False)
    value = '["/evil"]' if KEYS[key].kind is SettingType.PATHS else '"/evil"'
    file = project(tmp_path, f"{key} = {value}\n")
    settings = load_host_settings(start=tmp_path)
    assert settings.warnings == (f"{file}: {key} is not taken from a project; it belongs in the user's config.toml",)
    assert "/evil" not in str([one.value for one in settings.settings])
    assert settings.hub_endpoint == DEFAULT_HUB or key != "hub_endpoint"


def test_unknown_keys_and_tables_of_a_project_are_told_with_the_nearest_known_one(tmp_path: Path) -> None:
    file = project(tmp_path / "one", "max_conections = 3\n")
    assert load_host_settings(start=file.parent).warnings == (
        f"{file}: unknown key 'max_conections' is ignored; did you mean 'max_connections'?",
    )
    file = tmp_path / "two" / "pyproject.toml"
    file.parent.mkdir()
    file.write_text("[tool.imageworks.model_downloader]\nmax_connections = 3\n", encoding="utf-8")
    settings = load_host_settings(start=file.parent)
    assert settings.max_connections is None
    assert settings.warnings == (
        f"{file}: unknown table [tool.imageworks.model_downloader] is ignored; did you mean 'model-downloader'?",
    )


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("max_connections = 0\n", "max_connections"),
        ("max_connections = 17\n", "max_connections"),
        ("max_connections = true\n", "max_connections"),
        ('max_concurrent_downloads = "4"\n', "max_concurrent_downloads"),
        ('preferred_formats = "awq"\n', "preferred_formats"),
        ("preferred_formats = [1]\n", "preferred_formats"),
        ("linux_wsl_root = 1\n", "linux_wsl_root"),
        ('linux_wsl_root = ""\n', "linux_wsl_root"),
        ('linux_wsl_root = "a\\u0000b"\n', "linux_wsl_root"),
    ],
)
def test_a_wrong_value_of_a_project_names_file_table_and_key(tmp_path: Path, text: str, key: str) -> None:
    file = project(tmp_path, text)
    with pytest.raises(ConfigurationError) as caught:
        load_host_settings(start=tmp_path)
    assert caught.value.message.startswith(f"{file}: tool.imageworks.model-downloader.{key} must be")
    assert caught.value.remedy


@pytest.mark.parametrize("value", ["0", "seventeen", "4.5", "-1", "٣", "9" * 5000])
def test_a_wrong_number_in_the_environment_names_its_variable(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("IMAGEWORKS_MAX_CONNECTIONS", value)
    with pytest.raises(ConfigurationError, match="IMAGEWORKS_MAX_CONNECTIONS must be a whole number from 1 to 16"):
        load_host_settings()


def test_a_table_that_is_none_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text('[tool.imageworks]\nmodel-downloader = "x"\n', encoding="utf-8")
    with pytest.raises(ConfigurationError, match="must be a table"):
        load_host_settings(start=tmp_path)


def test_a_broken_pyproject_is_an_error_only_where_it_names_us(tmp_path: Path) -> None:
    file = tmp_path / "pyproject.toml"
    file.write_text("[tool.other\n", encoding="utf-8")
    assert load_host_settings(start=tmp_path).warnings == ()
    file.write_text("[tool.imageworks.model-downloader\n", encoding="utf-8")
    with pytest.raises(ConfigurationError, match="not valid TOML") as caught:
        load_host_settings(start=tmp_path)
    assert str(file) in caught.value.message


@pytest.mark.parametrize("number", ["9" * 5000, "-" + "9" * 5000])
def test_a_number_without_end_is_an_error_that_names_its_file(tmp_path: Path, number: str) -> None:
    file = project(tmp_path, f"max_connections = {number}\n")
    with pytest.raises(ConfigurationError, match="not valid TOML") as caught:
        load_host_settings(start=tmp_path)
    assert str(file) in caught.value.message


def test_a_current_folder_that_was_deleted_stops_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    assert load_host_settings().warnings == ()
    with pytest.raises(RegistryNotFoundError):
        find_registry()


def test_a_pyproject_that_is_no_file_says_nothing(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").mkdir()
    assert load_host_settings(start=tmp_path).warnings == ()


# --- the hub -----------------------------------------------------------------------------------------------------


def test_the_hub_of_the_users_config_is_the_one_that_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_ENDPOINT")
    file = write_config('hub_endpoint = "http://hub.internal:8000"\n')
    settings = load_host_settings()
    assert settings.environment()["HF_ENDPOINT"] == "http://hub.internal:8000"
    assert origin(settings, "hub_endpoint") == ("http://hub.internal:8000", str(file))


def test_the_environments_hub_wins_over_the_users_config(monkeypatch: pytest.MonkeyPatch) -> None:
    write_config('hub_endpoint = "http://hub.internal:8000"\n')
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:1")
    assert load_host_settings().environment()["HF_ENDPOINT"] == "http://127.0.0.1:1"


# --- what is documented ------------------------------------------------------------------------------------------

PAGE = Path(__file__).parents[2] / "docs/configuration.md"


@pytest.mark.parametrize("key", KEYS.values(), ids=lambda key: key.name)
def test_the_table_of_settings_has_every_key_with_its_variable(key: Key) -> None:
    rows = [
        line.split("|") for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith(f"| `{key.name}`")
    ]
    (row,) = rows
    assert (f"`{key.variable}`" if key.variable else "—") == row[2].strip()
    assert ("yes" if key.project else "no") == row[3].strip()


def test_the_table_of_settings_has_no_other_key() -> None:
    text = PAGE.read_text(encoding="utf-8").split("## Settings")[1].split("\n## ")[0]
    shown = [line.split("`")[1] for line in text.splitlines() if line.startswith("| `")]
    assert shown == list(KEYS)
    assert ".".join(PROJECT_TABLE) in text


# --- what cannot be used -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["host = ", 'host = "\\q"', "\ufeffhost = 1 ="])
def test_a_config_that_is_not_toml_names_its_file(text: str) -> None:
    file = write_config(text)
    with pytest.raises(ConfigurationError, match="not valid TOML") as caught:
        load_host_settings()
    assert str(file) in caught.value.message


def test_a_config_in_another_encoding_names_its_file() -> None:
    file = write_config("")
    file.write_bytes(b'host = "\xff"\n')
    with pytest.raises(ConfigurationError, match="not valid TOML"):
        load_host_settings()


def test_a_config_that_cannot_be_read_names_its_file() -> None:
    user_config_file().mkdir(parents=True)
    with pytest.raises(ConfigurationError, match="cannot be read"):
        load_host_settings()


@pytest.mark.parametrize(
    "text", ["host = 1\n", 'require_signed = "true"\n', "state_dir = []\n", 'roots = "/data"\n', "roots = [1]\n"]
)
def test_a_value_of_the_wrong_type_names_its_key(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.delenv("IMAGEWORKS_HOST")
    write_config(text)
    with pytest.raises(ConfigurationError, match=text.split(maxsplit=1)[0]) as caught:
        load_host_settings()
    assert caught.value.remedy


@pytest.mark.parametrize("host", ["..", ".", "a/b", "a\\b", ".hidden", "-option"])
def test_a_host_that_cannot_name_a_folder_is_refused(monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    """I8."""
    monkeypatch.setenv("IMAGEWORKS_HOST", host)
    with pytest.raises(ConfigurationError, match="cannot name a folder"):
        load_host_settings()


def test_an_unknown_key_is_told_with_the_nearest_known_one() -> None:
    file = write_config('hots = "x"\nnothing_like_it = 1\n')
    assert load_host_settings().warnings == (
        f"{file}: unknown key 'hots' is ignored; did you mean 'host'?",
        f"{file}: unknown key 'nothing_like_it' is ignored",
    )


# --- roots -------------------------------------------------------------------------------------------------------


def test_only_the_hosts_own_settings_widen_its_roots(
    tmp_path: Path, isolated_environment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_config(f'roots = ["{tmp_path}/extra"]\n')
    monkeypatch.setenv("IMAGEWORKS_MODEL_ROOT", str(tmp_path / "weights"))
    settings = load_host_settings()
    assert settings.allows(tmp_path / "extra" / "model")
    assert settings.allows(tmp_path / "weights" / "model")
    assert settings.allows(isolated_environment / "ai-models" / "weights")
    assert not settings.allows(tmp_path / "elsewhere")
    assert not settings.allows(tmp_path / "extra-not")
    assert not settings.allows(tmp_path / "extra" / ".." / "elsewhere")


def test_a_symbolic_link_does_not_lead_out_of_a_root(tmp_path: Path) -> None:
    """I8."""
    (tmp_path / "extra").mkdir()
    (tmp_path / "extra" / "link").symlink_to(tmp_path)
    write_config(f'roots = ["{tmp_path}/extra"]\n')
    assert not load_host_settings().allows(tmp_path / "extra" / "link" / "elsewhere")


# --- which registry ----------------------------------------------------------------------------------------------


def test_the_option_names_the_registry_or_the_folder_that_holds_it(tmp_path: Path) -> None:
    made = registry(tmp_path / "repo" / "registry")
    assert find_registry(made) == made
    assert find_registry(tmp_path / "repo") == made


def test_an_option_that_names_no_registry_is_a_wrong_command_line(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"has no registry\.yaml") as caught:
        find_registry(tmp_path)
    assert caught.value.exit_code is ExitCode.USAGE


def test_the_variable_comes_before_the_folders_above(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here, named = registry(tmp_path / "here"), registry(tmp_path / "named")
    monkeypatch.setenv("IMAGEWORKS_REGISTRY_DIR", str(named))
    assert find_registry(start=here) == named
    assert origin(load_host_settings(registry=named), "registry")[1] == "environment IMAGEWORKS_REGISTRY_DIR"


def test_a_variable_that_names_no_registry_is_an_error_and_no_fallback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IMAGEWORKS_REGISTRY_DIR", str(tmp_path))
    with pytest.raises(RegistryNotFoundError, match="IMAGEWORKS_REGISTRY_DIR"):
        find_registry(start=registry(tmp_path / "here"))


@pytest.mark.parametrize("where", [".", "models", "registry"])
def test_the_nearest_folder_above_is_found(tmp_path: Path, where: str) -> None:
    made = registry(tmp_path / "repo" / ("registry" if where == "registry" else ""))
    start = tmp_path / "repo" / "src" / "deep" if where == "registry" else made / where
    start.mkdir(parents=True, exist_ok=True)
    assert find_registry(start=start) == made


def test_the_users_config_comes_before_the_default(tmp_path: Path, isolated_environment: Path) -> None:
    registry(isolated_environment / "ai-models" / "registry")
    configured = registry(tmp_path / "configured")
    write_config(f'registry = "{configured}"\n')
    assert find_registry(start=tmp_path) == configured


def test_the_default_is_below_the_home_folder(tmp_path: Path, isolated_environment: Path) -> None:
    made = registry(isolated_environment / "ai-models" / "registry")
    assert find_registry(start=tmp_path) == made
    assert origin(load_host_settings(registry=made), "registry") == (str(made), "default")


def test_without_any_registry_the_remedy_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(RegistryNotFoundError) as caught:
        find_registry(start=tmp_path)
    assert "imageworks-models init" in (caught.value.remedy or "")
