"""This host's settings: what wins over what, and what cannot be used."""

from pathlib import Path

import pytest

from imageworks import config
from imageworks.config import (
    HostSettings,
    RegistryNotFoundError,
    find_registry,
    load_host_settings,
    user_config_file,
)
from imageworks.config_layers import ConfigurationError
from imageworks.errors import ExitCode, UsageError


def write_config(text: str) -> Path:
    file = user_config_file()
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")
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
    monkeypatch.setattr("socket.gethostname", lambda: "box.example.org")
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


@pytest.mark.parametrize("text", ["host = 1\n", "state_dir = []\n", 'roots = "/data"\n', "roots = [1]\n"])
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
