"""``xinc completion``: what bash and zsh offer while a command is typed."""

import shutil
import subprocess

import pytest

import xinc_core as xc
from xinc_core.cli import words as cli
from xinc_core.cli.completion import script

BASH = shutil.which("bash")
ZSH = shutil.which("zsh")
needs_bash = pytest.mark.skipif(BASH is None, reason="bash is not here")
needs_zsh = pytest.mark.skipif(ZSH is None, reason="zsh is not here")


def offered(line: str, folder) -> list[str]:
    """What bash offers for the last word of a line, in a folder."""
    words = " ".join(f'"{word}"' for word in line.split(" "))
    ask = (
        f"COMP_WORDS=({words}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); _xinc\n"
        'printf "%s\\n" "${COMPREPLY[@]}"'
    )
    done = subprocess.run(
        [BASH, "--norc", "-c", script(cli.parser(), "bash") + ask],
        capture_output=True,
        text=True,
        cwd=folder,
    )
    assert done.stderr == "" and done.returncode == 0
    return [word for word in done.stdout.splitlines() if word]


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "courts of a town.mp4").touch()
    (tmp_path / "masks").mkdir()
    return tmp_path


OFFERED = {
    "xinc ": list(cli.parser().commands),
    "xinc st": ["study", "step"],
    "xinc --v": ["--version"],
    "xinc trace --ru": ["--rule"],
    "xinc trace nerv-bunny --rule ": ["paper", "first_order", "horizon", "ablation"],
    "xinc trace nerv-bunny --rule f": ["first_order"],
    "xinc trace hnerv-bunny-": ["hnerv-bunny-s10", "hnerv-bunny-s20"],
    "xinc compress nerv-bunny --clip bun": ["bunny"],
    "xinc fit cour": ["courtyard", "courts of a town.mp4"],
    "xinc fit bunny -o ": ["courts of a town.mp4", "masks"],
    "xinc study film.mp4 --masks ma": ["masks"],
    "xinc study film.mp4 --profile ": ["quick", "full"],
    "xinc study film.mp4 --epochs ": [],
    "xinc completion ": ["bash", "zsh"],
    "xinc models ": [],
    "xinc no-such-command ": [],
}


@needs_bash
@pytest.mark.parametrize("line", OFFERED)
def test_bash_offers(line, folder):
    assert sorted(offered(line, folder)) == sorted(OFFERED[line])


@needs_bash
@pytest.mark.parametrize("command", cli.parser().commands)
def test_bash_offers_every_option(command, folder):
    known = cli.parser().commands[command].option_names
    assert sorted(offered(f"xinc {command} --", folder)) == sorted([*known, "--debug"])


@needs_bash
def test_names_that_a_shell_would_run_are_left_out(folder, monkeypatch):
    names = {"mine": {}, "$(touch ran)": {}, "a b": {}, "`touch ran`": {}}
    monkeypatch.setattr("xinc_core.storage.list_models", lambda: names)
    assert "mine" in offered("xinc trace ", folder)
    assert not (folder / "ran").exists() and "touch" not in script(cli.parser(), "bash")


@needs_zsh
def test_zsh_reads_its_script():
    done = subprocess.run(
        [ZSH, "-n"], input=script(cli.parser(), "zsh"), capture_output=True, text=True
    )
    assert done.returncode == 0 and done.stderr == ""


def test_the_command_prints_the_script(capsys):
    for shell in ("bash", "zsh"):
        assert cli.main(["completion", shell]) == 0
        assert capsys.readouterr().out == script(cli.parser(), shell)
    assert "bashcompinit" in script(cli.parser(), "zsh")


def test_every_name_of_a_model_or_a_clip_is_completed():
    """An argument that takes one says so; otherwise the shell would offer nothing."""
    text = script(cli.parser(), "bash")
    for name in [*xc.list_models(), *xc.list_clips()]:
        assert name in text
    for command in cli.parser().commands.values():
        for action in command.actions():
            if action.dest in ("clip", "clips", "model"):
                assert action.completes in ("clip", "model"), (command.prog, action.dest)
