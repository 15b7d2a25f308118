"""The documentation holds: every command in it is accounted for and has options that exist. tests/all/docs builds the site,
with its links and anchors."""

import functools
import re
import subprocess

import pytest

from processes import BINARIES, ROOT, SLOW

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("**/*.md"))]
PROGRAMS = {path.name: path for path in BINARIES.values()}
# What a line of code begins with, if it is a command.
COMMAND = re.compile(r"(\./|build\S*/|[A-Z_]+=\S+ |hindcast[ -]|third_party/|experiments/|tests/|bench/|(docker|podman\S*|sbatch|"
                     r"scancel|kubectl|cmake|cpack|ctest|python\d?|pytest|pip|mkdocs|mpirun|srun|curl|sudo|git|apt-get|nice|chrt|"
                     r"unset|ssh|tensorboard)\b)")

# Which test runs a command, or one that differs from it in names and numbers only. The first pattern that matches counts.
RUN_BY = [
    (r"tests/run --all (compose|docs|hosts|slurm|kubernetes|browser|package|power|sim|soak)", r"tests/all/\1"),
    (r"tests/run", "tests/run"),
    (r"deploy/local/run", "tests/integration/test_pipeline.py"),
    (r"deploy/install_dependencies", "tests/run"),
    (r"cmake --preset release -DHINDCAST_TASKS", "tests/integration/test_own_task.py::test_cmake_makes_the_list_and_the_folder"),
    (r"cmake --build --preset|cmake --preset", "tests/all/package"),
    (r"cmake --install", "tests/integration/test_install.py::prefix"),
    (r"cmake -S deploy/policy", "tests/integration/test_policy_library.py"),
    (r"hindcast up .*--restorer.folds", "tests/integration/test_holdout.py::test_folds_are_a_division"),
    (r"hindcast up .*--restorer.holdout", "tests/integration/test_holdout.py::test_the_sides_are_those_of_the_rule"),
    (r"hindcast up .*--restorer.filter", "tests/integration/test_selection.py::test_filters_of_a_dataset"),
    (r"hindcast up .*--experiment.choose=offline",
     "tests/integration/test_offline_evaluation.py::test_the_best_of_the_kept_policies_is_left"),
    (r"hindcast up experiments/collect", "tests/integration/test_online.py"),
    (r"hindcast up .*ranks=2|hindcast up .*learners=2",
     "tests/integration/test_ranks.py::test_up_starts_and_supervises_all_ranks"),
    (r"hindcast up .*--learner.(precision|kernels|evaluation_precision)", "tests/integration/test_learner.py"),
    (r"hindcast up my.yaml", "tests/integration/test_start.py::test_a_proposed_experiment_runs_as_it_is"),
    (r"hindcast up", "tests/integration/test_pipeline.py"),
    (r"hindcast certs", "tests/integration/test_certs.py::test_openssl_takes_them"),
    (r"hindcast doctor", "tests/integration/test_front_end.py::test_the_doctor_looks_at_this_machine"),
    (r"hindcast status --parameters", "tests/integration/test_learner.py::test_status_by_address"),
    (r"hindcast status", "tests/integration/test_front_end.py::test_status_without_a_run_lists_all"),
    (r"hindcast dashboard .*--experiment", "tests/integration/test_admin_tokens.py::test_a_run_shows_what_it_does"),
    (r"curl --config -", "tests/integration/test_admin_tokens.py::test_a_page_beyond_loopback_has_tls"),
    (r"hindcast dashboard", "tests/integration/test_dashboard.py"),
    (r"hindcast plot", "tests/integration/test_plot.py::test_a_run_is_drawn_and_written_as_it_is"),
    (r"hindcast dataset inspect --plot", "tests/integration/test_plot.py::test_what_the_logs_hold_is_drawn"),
    (r"hindcast dataset inspect .*(--filter|--holdout)", "tests/integration/test_selection.py::test_filters_of_a_dataset"),
    (r"hindcast dataset inspect", "tests/integration/test_dataset.py::test_plain_files"),
    (r"hindcast dataset (map|import)", "tests/integration/test_import.py::test_the_proposed_mapping_is_the_one_that_is_used"),
    (r"hindcast dataset start", "tests/integration/test_start.py::test_a_proposed_experiment_runs_as_it_is"),
    (r"hindcast dataset export --format=minari",
     "tests/integration/test_dataset.py::test_minari_itself_reads_an_export"),
    (r"hindcast dataset export --format=lerobot", "tests/integration/test_export.py::test_lerobot"),
    (r"hindcast dataset export --format=d4rl", "tests/integration/test_export.py::test_d4rl"),
    (r"hindcast policy evaluate", "tests/integration/test_offline_evaluation.py::test_values_of_known_policies_are_found"),
    (r"hindcast policy (inspect|export)", "tests/integration/test_policy_export.py::test_a_run_by_folder_and_by_experiment"),
    (r"hindcast policy act", "tests/integration/test_policy_library.py::test_python_gets_the_bits_of_policy_act"),
    (r"hindcast policy bench", "tests/integration/test_policy_library.py::test_bench_prints_quantiles"),
    (r"hindcast replay info", "tests/integration/test_replay_operator.py::test_info_says_what_a_server_holds"),
    (r"hindcast replay set", "tests/integration/test_replay_operator.py::test_rates_and_limits_change_while_clients_wait"),
    (r"hindcast replay delete --all", "tests/integration/test_replay_operator.py::test_all_of_a_table_and_its_rates"),
    (r"hindcast replay delete", "tests/integration/test_replay_operator.py::test_episodes_are_deleted_for_good"),
    (r"hindcast replay dump", "tests/integration/test_replay_operator.py::test_a_restore_drill"),
    (r"hindcast replay compact", "tests/integration/test_replay_operator.py::test_a_store_shrinks_while_it_is_sampled_from"),
    (r"hindcast-learner --rerun_step", "tests/integration/test_insight.py::test_a_step_that_is_not_finite_is_saved_and_rerun"),
    (r"hindcast-learner .*--rank=1", "tests/integration/test_ranks.py::test_two_and_three_learn_what_one_learns"),
    (r"(mpirun|srun) .*hindcast-learner", "tests/all/slurm"),
    (r"hindcast-collector .*(ball_plate|--act=random --episodes=5)",
     "tests/integration/test_own_task.py::test_logs_of_the_example"),
    (r"hindcast-collector .*sawyer", "tests/integration/test_sawyer.py"),
    (r"hindcast-collector .*robot:", "tests/integration/test_robot_drivers.py::test_dm_control_in_python_is_a_robot"),
    (r"hindcast-robot-sim", "tests/integration/test_robot.py::test_an_evaluator_measures_through_the_robot"),
    (r"hindcast-evaluator --environment=robot", "tests/integration/test_robot.py::test_an_evaluator_measures_through_the_robot"),
    (r"hindcast-evaluator .*--video", "tests/integration/test_video.py::test_the_film_of_an_episode"),
    (r"experiments/sawyer/compare", "tests/integration/test_sawyer.py"),
    (r"hindcast-robot-operator", "tests/integration/test_robot_faults.py::test_the_operator_by_command_line"),
    (r"python -m grpc_tools.protoc", "tests/integration/test_robot_drivers.py"),
    (r"PYTHONPATH=. python experiments/robot/driver.py",
     "tests/integration/test_robot_drivers.py::test_dm_control_in_python_is_a_robot"),
    (r"sbatch|scancel", "tests/all/slurm"),
    (r"docker compose .*(up|cp|exec)|docker (build|run)", "tests/all/compose"),
    (r"apt-get install .*chromium", "tests/all/browser"),
    (r"bench_learner", "tests/integration/test_bench_learner.py"),
    (r"bench_restorer", "tests/integration/test_commands.py::test_bench_restorer"),
    (r"bench_environment", "tests/integration/test_commands.py::test_bench_environment"),
    (r"bench_relabel", "tests/integration/test_commands.py::test_bench_relabel"),
    (r"bench/compare_reports.py", "tests/integration/test_commands.py::test_reports_of_two_runs_are_compared"),
    (r"experiments/rank-offline", "tests/integration/test_commands.py::test_policies_are_ranked"),
    (r"experiments/prioritized/", "tests/integration/test_commands.py::test_logs_with_rare_rewards_are_learned_in_both_ways"),
    (r"tests/tools/terminal", "tests/integration/test_front_end.py::test_pictures_of_the_screen"),
    (r"bench_replay", "tests/integration/test_bench_peers.py::test_ratios_of_bench_replay"),
    (r"bench/peers/run (environment|policy|algorithms|replay)", "tests/integration/test_bench_peers.py"),
    (r"experiments/compare-cheetah-run", "tests/integration/test_compare.py"),
    (r"experiments/paper/run", "tests/integration/test_paper.py"),
    (r"(pytest|third_party/venv/bin/python -m pytest .*)", "tests/run"),
    (r"build/tests/sim", "tests/all/sim"),
]
# Not run by a test, and why.
NOT_RUN = [
    (r"kubectl", "speaks to a cluster, and neither Debian nor PyPI has one; tests/integration/test_kubernetes.py builds and "
                 "checks what these overlays are, tests/all/kubernetes runs their pods"),
    (r"bench/peers/run learner", "fetches JAX and PyTorch, 5 GB, and tries each of their ways first: half an hour"),
    (r"ssh -L", "needs a second machine with a user's account"),
    (r"tensorboard --logdir", "the tests' Python has TensorBoard's own reader, without its web server and what that needs; "
                              "tests/integration/test_insight.py reads the points by it"),
]


def commands():
    """[(page:line, command)] of all code, with continued lines joined, without prompts and comments."""
    found = []
    for page in PAGES:
        fence, open_command = None, None
        for number, line in enumerate(page.read_text().splitlines(), 1):
            if line.startswith("```"):
                fence = None if fence is not None else line[3:]
                continue
            in_code = fence in ("", "sh", "bash") if fence is not None else line.startswith("    ")
            text = re.split(r"\s{2,}#|\s{3,}\S|\s#\s", line.strip())[0].strip()
            if open_command is not None and in_code:
                found[open_command] = (found[open_command][0], f"{found[open_command][1]} {text.rstrip(chr(92)).strip()}")
                open_command = open_command if line.rstrip().endswith("\\") else None
            elif in_code and COMMAND.match(text):
                found.append((f"{page.name}:{number}", text.rstrip("\\").strip()))
                open_command = len(found) - 1 if line.rstrip().endswith("\\") else None
    return found


COMMANDS = commands()


def test_every_command_is_run_by_a_test_or_says_why_not():
    lost = [f"{where}: {command}" for where, command in COMMANDS
            if not any(re.search(pattern, command) for pattern, _ in RUN_BY + NOT_RUN)]
    assert not lost, "\n".join(lost)
    assert len(COMMANDS) > 100


def test_the_list_has_no_dead_lines():
    unused = [pattern for pattern, _ in RUN_BY + NOT_RUN if not any(re.search(pattern, command) for _, command in COMMANDS)]
    assert unused == []


def test_the_tests_that_are_named_are_there():
    for pattern, where in RUN_BY:
        names = [where.replace(r"\1", name) for name in re.search(r"\(([a-z|]+)\)$", pattern)[1].split("|")] \
            if r"\1" in where else [where]
        for name in names:
            file, _, function = name.partition("::")
            assert (ROOT / file).is_file(), name
            assert not function or f"def {function}(" in (ROOT / file).read_text(), name


def test_every_page_is_in_the_menu_of_the_site():
    menu = (ROOT / "deploy" / "site" / "mkdocs.yml").read_text()
    pages = [page.relative_to(ROOT / "docs") for page in PAGES if page.parent != ROOT]
    assert [page for page in pages if f" {page}\n" not in menu] == []


@functools.cache
def page_of(program, *words):
    """The help of a program or of a command of hindcast."""
    return subprocess.run([PROGRAMS[program], *words, "--help"], capture_output=True, text=True, timeout=60 * SLOW,
                          check=True).stdout


@functools.cache
def options_of(program):
    table = subprocess.run([PROGRAMS[program], "--options"], capture_output=True, text=True, timeout=60 * SLOW, check=True).stdout
    return {line.split("\t")[0] for line in table.splitlines()}


def all_options():
    """Of every process, and of `up` itself."""
    names = set().union(*(options_of(program) for program in PROGRAMS if program != "hindcast"))
    return names | {f"up.{name}" for name in re.findall(r"^  --(\w+)=", page_of("hindcast", "up"), re.MULTILINE)}


def call(command):
    """(program, its words) of a command that calls one of ours, also behind mpirun or kubectl exec; None for others."""
    words = command.split()
    for i, word in enumerate(words):
        program = word.rpartition("/")[2]
        if program in PROGRAMS and (i == 0 or program != "hindcast" or words[i + 1:i + 2] == ["status"]):
            return program, words[i + 1:]
    return None


@pytest.mark.parametrize("where, command", [(where, command) for where, command in COMMANDS if call(command)])
def test_options_in_commands_exist(where, command):
    program, words = call(command)
    flags = [word[2:].partition("=")[0] for word in words if word.startswith("--")]
    if program != "hindcast":
        known = {name.partition(".")[2] for name in options_of(program)} | options_of(program) | {"config", "check"}
        assert set(flags) <= known, f"{where}: {set(flags) - known}"
        return
    assert f"\n  {words[0]} " in page_of("hindcast"), f"{where}: no such command"
    page = page_of("hindcast", words[0])
    for flag in flags:
        name = flag.partition("[")[0]
        assert name in all_options() or f"--{name}" in page or name.startswith("offline_evaluator."), f"{where}: --{flag}"
