"""How ``xinc`` begins and ends: quickly, and quietly where nobody reads on."""

import signal
import subprocess
import sys

import pytest

import xinc_core as xc
from xinc_core.cli import words as cli
from xinc_core.cli.trace import RULES
from xinc_core.tracing import RULES as RULES_OF_TRACING

XINC = [sys.executable, "-m", "xinc_core.cli"]
HEAVY = {"torch", "numpy", "matplotlib", "pandas", "safetensors", "tqdm", "PIL", "av", "nbformat"}

QUICK = (
    "--help",
    "--version",
    "clips",
    "models",
    "completion zsh",
    "study --help",
    "trace --help",
    "no-such-command",
)


@pytest.mark.parametrize("line", QUICK)
def test_what_computes_nothing_loads_nothing_heavy(line):
    code = (
        "import sys\nfrom xinc_core.cli import main\n"
        "try:\n    main(sys.argv[1:])\nexcept SystemExit:\n    pass\n"
        "print('loaded', *{name.partition('.')[0] for name in sys.modules})"
    )
    said = subprocess.run(
        [sys.executable, "-c", code, *line.split()], capture_output=True, text=True, check=True
    ).stdout
    *_, loaded = said.splitlines()
    assert loaded.startswith("loaded") and not HEAVY & set(loaded.split())


def test_the_version_is_the_package_s(capsys):
    with pytest.raises(SystemExit) as done:
        cli.main(["--version"])
    assert done.value.code == 0 and capsys.readouterr().out == f"xinc {xc.__version__}\n"


def test_rules_are_those_of_tracing():
    assert RULES == RULES_OF_TRACING


# Nobody reads on ----------------------------------------------------------------------------------


@pytest.mark.parametrize("line", ("models", "clips", "--help", "study --help", "--version"))
def test_a_closed_pipe_ends_quietly(line):
    """As in ``xinc models | head -1``, where the reader has gone before anything is written."""
    with subprocess.Popen(
        [*XINC, *line.split()], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        process.stdout.close()
        complaint = process.stderr.read()
    assert complaint == b"" and process.returncode in (0, cli.NOBODY_READS)


def test_a_pipe_that_is_closed_halfway_ends_quietly(tmp_path):
    """More is written than any buffer holds."""
    code = (
        "import sys\nfrom xinc_core.cli import lists, words\n"
        "lists.run_models = lambda args: [print('line', n) for n in range(100_000)]\n"
        "sys.exit(words.main(['models']))"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout.readline() == b"line 0\n"
        process.stdout.close()
        complaint = process.stderr.read()
    assert complaint == b"" and process.returncode == cli.NOBODY_READS


# Ctrl-C and mistakes ------------------------------------------------------------------------------

COMMANDS = {
    "study": "study",
    "sweep": "sweep --clips bunny",
    "step": "step . fit a b",
    "fit": "fit bunny",
    "trace": "trace nerv-bunny",
    "explore": "explore bunny",
    "compress": "compress nerv-bunny",
    "models": "models",
    "clips": "clips",
    "completion": "completion bash",
}


def ends_with(error: BaseException, line: str, monkeypatch, capsys, *more: str) -> tuple[int, str]:
    """The exit status and what is said where a command ends with this error."""

    def fail(args):
        raise error

    parser = cli.parser()
    for command in parser.commands.values():
        command.set_defaults(run=fail)
    monkeypatch.setattr(cli, "parser", lambda: parser)
    code = cli.main([*line.split(), *more])
    printed, said = capsys.readouterr()
    assert printed == "" and len(said.splitlines()) == 1
    return code, said


@pytest.mark.parametrize("command", cli.parser().commands)
def test_ctrl_c_is_one_sentence(command, monkeypatch, capsys):
    code, said = ends_with(KeyboardInterrupt(), COMMANDS[command], monkeypatch, capsys)
    assert code == cli.SIGNALLED + signal.SIGINT and said.startswith("xinc: stopped")
    resumes = command in ("study", "sweep", "step", "fit")
    assert ("goes on from here" in said) == resumes


def test_a_mistake_of_the_program_s_own_is_one_sentence_too(monkeypatch, capsys):
    code, said = ends_with(KeyError("block3"), "trace nerv-bunny", monkeypatch, capsys)
    assert code == cli.FAILED and "KeyError: 'block3'" in said and "--debug" in said
    with pytest.raises(KeyError):
        ends_with(KeyError("block3"), "trace nerv-bunny", monkeypatch, capsys, "--debug")


def test_a_library_that_is_not_installed_is_named(monkeypatch, capsys):
    missing = ModuleNotFoundError("No module named 'papermill'", name="papermill")
    code, said = ends_with(missing, "study", monkeypatch, capsys)
    assert code == cli.BAD_INPUT and "papermill is not installed; pip install" in said


def test_every_command_has_an_example_that_parses():
    parser = cli.parser()
    for name, command in parser.commands.items():
        example = command.epilog.removeprefix("example: xinc ")
        assert parser.parse(example.split()).command == name
    assert set(COMMANDS) == set(parser.commands)
