"""The commands, run like a user: the complete workflow, and wrong inputs with their error line and exit code."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from lib.models.build import network_settings
from lib.models.weights.read import read_checkpoint
from lib.utils.paths import epoch_path
from tests.processes import ROOT, children_of, run, run_tracking, started

CHECKPOINTS = "output/checkpoints/train/transcmd/debug"


@pytest.fixture
def trained(make_once, demo_data, tmp_path):
    """A folder in which `debug` has been trained by the command; each test has its own copy."""

    def train(folder):
        environment = {"TRANSCMD_DATA": str(demo_data)}
        done = run_tracking("train.py", "--script", "transcmd", "--config", "debug", cwd=folder, env=environment)
        assert done.returncode == 0, done.stderr

    return shutil.copytree(make_once("trained", train), tmp_path / "trained")


def start(command, *arguments, cwd, data):
    """A process that a test can send signals to, started from nothing."""
    return started(
        [sys.executable, ROOT / "tracking" / command, *arguments],
        cwd=cwd,
        env={**os.environ, "TRANSCMD_DATA": str(data)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


def assert_fails(done: subprocess.CompletedProcess, code: int, *parts: str) -> None:
    """One line on stderr that begins with 'error:' and holds all parts; no traceback; that exit code."""
    assert done.returncode == code, done.stdout + done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1, done.stderr
    assert "Traceback" not in done.stderr
    for part in parts:
        assert part in lines[0], lines[0]


# the complete workflow


def test_a_result_folder_says_what_it_was_made_with(trained, run_command, tmp_path):
    shutil.copytree(trained / "output", tmp_path / "output")
    words = ["--dataset_name", "LasHeR", "--sequence", "0", "--threads", "1", "--num_gpus", "0"]
    assert run_command("test.py", "transcmd", "debug", *words, "--set", "TEST.SIZE_RATE=0.5").returncode == 0
    folder = tmp_path / "output/test/tracking_results/transcmd/debug/LasHeR"
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["config"]["TEST"]["SIZE_RATE"] == 0.5 and manifest["config"]["MODEL"]["FUSION"]["RANK"] == 8
    assert len(manifest["config_hash"]) == len(manifest["data"]) == len(manifest["fingerprint"]) == 16
    assert manifest["command"][:3] == ["tracking/test.py", "transcmd", "debug"]
    assert manifest["versions"]["torch"] and manifest["hardware"]["cores"] and "commit" in manifest
    assert run_command("test.py", "static", *words).returncode == 0
    static = json.loads((tmp_path / "output/test/tracking_results/static/default/LasHeR/manifest.json").read_text())
    assert "config" not in static and static["fingerprint"] != manifest["fingerprint"]


def test_train_test_and_analysis_work_one_after_the_other(trained, run_command, tmp_path):
    assert epoch_path(trained / CHECKPOINTS, 2).is_file()
    assert (trained / CHECKPOINTS / "config.yaml").is_file()
    save = ["--save_dir", trained / "output"]
    names = ["LasHeR", "DepthTrack", "VisEvent"]
    done = run_command("test.py", "transcmd", "debug", "--dataset_name", *names, "--threads", 2, *save)
    assert done.returncode == 0, done.stderr
    assert run_command("test.py", "static", "debug", "--dataset_name", *names, *save).returncode == 0
    for name in names:
        done = run_command("analysis_results.py", "--dataset_name", name, *save)
        assert done.returncode == 0, done.stderr
        folder = trained / "output/test/reports" / name
        report = json.loads((folder / "report.json").read_text())
        assert set(report["trackers"]) == {"transcmd/debug", "static/debug"}
        assert {"report.md", "report.csv"} <= {p.name for p in folder.iterdir()}
        plot = "precision_recall" if name == "DepthTrack" else "success"
        assert (folder / f"{plot}.png").stat().st_size > 10_000 and (folder / f"{plot}.pdf").is_file()
        assert "transcmd/debug" in done.stdout and str(folder / f"{plot}.png") in done.stdout


def test_a_tracker_without_an_experiment_needs_no_name_of_one(run_command, tmp_path):
    done = run_command("test.py", "static", "--dataset_name", "LasHeR")
    assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "output/test/tracking_results/static/default/LasHeR").glob("*_score.txt"))) == 2
    assert_fails(run_command("test.py", "transcmd", "--dataset_name", "LasHeR"), 2, "transcmd: name the experiment")
    wrong = run_command("test.py", "nanotrack", "--dataset_name", "LasHeR", "--set", "TRACKER.WEIGHT=x")
    assert_fails(wrong, 2, "nanotrack has no such argument; did you mean TRACKER.WEIGHTS?")
    lost = run_command("test.py", "nanotrack", "--dataset_name", "LasHeR", "--set", "TRACKER.WEIGHTS=x")
    assert_fails(lost, 1, "x/nanotrack_backbone_sim.onnx: no such file", "TRACKER.WEIGHTS")


def test_testing_with_a_drop_debug_pictures_and_a_single_sequence(trained, run_command):
    save = ["--save_dir", trained / "output"]
    done = run_command(
        "test.py", "transcmd", "debug", "--dataset", "VisEvent", "--sequence", 0, "--drop", "rgb", "--debug", *save
    )
    assert done.returncode == 0, done.stderr
    folder = trained / "output/test/tracking_results/transcmd/debug_drop_rgb/VisEvent"
    assert len(list(folder.glob("*_score.txt"))) == 1
    assert len(list(folder.glob("debug/*/*.jpg"))) == 11


def test_an_exported_network_tracks_as_its_checkpoint(trained, run_command, tmp_path):
    checkpoint = epoch_path(trained / CHECKPOINTS, 2)
    export = ["export_weights.py", "--config", "debug", "--save_dir", trained / "output"]
    for dtype in ("float32", "float16"):
        done = run_command(*export, "--output", f"{dtype}.safetensors", "--dtype", dtype)
        assert done.returncode == 0, done.stderr
    content = read_checkpoint(tmp_path / "float32.safetensors")
    state = torch.load(checkpoint, weights_only=True)
    assert content["net"].keys() == state["net"].keys() and content.keys() == {"net", "config", "modalities"}
    assert all(torch.equal(tensor, state["net"][name]) for name, tensor in content["net"].items())
    assert network_settings(content["config"]) == network_settings(state["config"])
    assert str(tmp_path.parent) not in json.dumps(content["config"])  # no path of this machine
    sizes = [path.stat().st_size for path in (tmp_path / "float16.safetensors", tmp_path / "float32.safetensors")]
    assert sizes[0] < 0.6 * sizes[1] < sizes[1] < checkpoint.stat().st_size / 2  # no optimizer, no helpers
    test = ["test.py", "transcmd", "debug", "--dataset_name", "LasHeR", "--sequence", 0, "--checkpoint"]
    for place, path in (("a", checkpoint), ("b", "float32.safetensors")):
        assert run_command(*test, path, "--save_dir", place).returncode == 0
    results = [sorted((tmp_path / place).rglob("LasHeR/*.txt")) for place in ("a", "b")]
    boxes = [path.read_text() for path in (r for rs in results for r in rs) if not path.stem.endswith("_time")]
    assert len(boxes) == 4 and boxes[:2] == boxes[2:]
    other = [*test, "float32.safetensors", "--set", "MODEL.BACKBONE.INTERACTION_LAYERS=[1]"]
    assert_fails(run_command(*other), 1, "float32.safetensors: trained with MODEL.BACKBONE.INTERACTION_LAYERS [2]")
    assert_fails(run_command(*export, "--output", "float32.safetensors"), 1, "exists already", "--overwrite")
    again = run_command(*export, "--output", "float32.safetensors", "--overwrite")
    assert again.returncode == 0 and (tmp_path / "float32.safetensors").stat().st_mode & 0o044, again.stderr
    assert_fails(run_command(*export, "--output", "x.pth"), 1, "--output x.pth: expected a name that ends in .safetens")


def test_training_works_in_two_processes(demo_data, run_command, tmp_path):
    done = run_command("train.py", "--config", "debug", "--nproc_per_node", 2, "--device", "cpu")
    assert done.returncode == 0, done.stderr
    state = torch.load(epoch_path(tmp_path / CHECKPOINTS, 2), weights_only=True)
    assert state["epoch"] == 2
    log = (tmp_path / "output/logs/transcmd-debug.log").read_text()
    assert "4 samples per step = 2 processes x 2 per micro batch x 1 accumulated; 4 steps and 16 samples" in log
    assert "step 4/4" in log


def test_a_crash_in_one_of_two_processes_is_a_failure(demo_data, run_command, tmp_path):
    arguments = ["--mode", "multiple", "--nproc_per_node", 2, "--device", "cpu", "--set", "TRAIN.LR=1e30"]
    done = run_command("train.py", "--config", "debug", *arguments, "--set", "TRAIN.SCHEDULER.WARMUP_STEPS=0")
    assert_fails(done, 1, "epoch 1, step ", "the loss is not finite")  # one line of two processes and torchrun


def test_one_process_and_several_contradict_each_other(run_command):
    done = run_command("train.py", "--config", "debug", "--mode", "single", "--nproc_per_node", 2)
    assert_fails(done, 2, "--mode single contradicts --nproc_per_node 2")


def test_a_missing_or_unfinished_teacher_is_named_with_the_command_that_makes_it(run_command, tmp_path):
    train = ["train.py", "--config", "debug_distill"]
    assert_fails(run_command(*train), 1, "TRAIN.TEACHER.CONFIG: no checkpoint in", "--config debug_teacher", "--chain")
    folder = tmp_path / CHECKPOINTS.replace("debug", "debug_teacher")
    folder.mkdir(parents=True)
    (folder / "TransCMD_interrupted.pth.tar").touch()
    assert_fails(run_command(*train), 1, "training of debug_teacher is not finished", "--config debug_teacher --resume")
    assert_fails(run_command("visualise.py", "--config", "debug_distill"), 1, "--config debug_distill: nothing to show")


def test_the_printed_config_can_be_loaded(run_command, tmp_path):
    done = run_command("train.py", "--config", "debug", "--print-config", "--set", "TRAIN.LR=1e-5")
    assert done.returncode == 0
    (tmp_path / "mine.yaml").write_text(done.stdout)
    again = run_command("train.py", "--config", "mine.yaml", "--print-config")
    assert again.stdout == done.stdout and "LR: 1.0e-05" in done.stdout


def wait_for(path, text: str, process: subprocess.Popen) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        if path.exists() and text in path.read_text():
            return
        time.sleep(0.1)
    raise AssertionError(f"'{text}' never came: {process.communicate()[0] if process.poll() is not None else ''}")


@pytest.mark.parametrize(
    "number", [signal.SIGINT, signal.SIGTERM, pytest.param(signal.SIGUSR1, marks=pytest.mark.slow)]
)
def test_interrupted_training_keeps_its_checkpoint_and_can_be_resumed(demo_data, run_command, tmp_path, number):
    arguments = ["--config", "debug", "--set", "DATA.TRAIN.SAMPLE_PER_EPOCH=2000", "--set", "TRAIN.NUM_WORKER=1"]
    with start("train.py", *arguments, cwd=tmp_path, data=demo_data) as process:
        wait_for(tmp_path / "output/logs/transcmd-debug.log", "epoch 1/2 step 4/500", process)
        process.send_signal(number)
        output, _ = process.communicate(timeout=60)
    assert process.returncode == (130 if number == signal.SIGINT else 75), output
    assert "TransCMD_interrupted.pth.tar; continue with --resume" in output and "Traceback" not in output
    state = torch.load(tmp_path / CHECKPOINTS / "TransCMD_interrupted.pth.tar", weights_only=True)
    assert state["epoch"] == 0 and state["step"] >= 4
    with start("train.py", *arguments, "--resume", cwd=tmp_path, data=demo_data) as process:
        wait_for(tmp_path / "output/logs/transcmd-debug.log", f"epoch 1, step {state['step']}", process)
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=60) and process.returncode == 130


@pytest.mark.parametrize(
    ("words", "number"),
    [
        ([], signal.SIGTERM),
        ([], signal.SIGINT),
        (["--nproc_per_node", 2], signal.SIGTERM),
        pytest.param(["--nproc_per_node", 2], signal.SIGINT, marks=pytest.mark.slow),
    ],
)
def test_a_training_that_a_scheduler_stops_before_its_first_step_can_be_resumed(demo_data, tmp_path, words, number):
    os.mkfifo(tmp_path / "skip.txt")  # reading waits for a writer, until the signal comes
    arguments = ["--config", "debug", "--device", "cpu", "--set", "DATA.SKIP=skip.txt", *words]
    log = tmp_path / "output/logs/transcmd-debug.log"
    with start("train.py", *arguments, cwd=tmp_path, data=demo_data) as process:
        wait_for(log, "", process)
        time.sleep(1)
        process.send_signal(number)
        output, _ = process.communicate(timeout=60)
    assert process.returncode == (75 if number == signal.SIGTERM else 130), output
    assert "Traceback" not in output and "step" not in log.read_text()
    assert number == signal.SIGINT or "interrupted: no step is lost; continue with --resume" in output, output


LONG = ["--config", "debug", "--set", "DATA.TRAIN.SAMPLE_PER_EPOCH=2000", "--set", "TRAIN.NUM_WORKER=1"]


@pytest.mark.parametrize(
    ("number", "whom"),
    [
        (signal.SIGTERM, "the command"),
        pytest.param(signal.SIGUSR1, "the command", marks=pytest.mark.slow),
        pytest.param(signal.SIGTERM, "one process", marks=pytest.mark.slow),
        pytest.param(signal.SIGUSR1, "one process", marks=pytest.mark.slow),
        pytest.param(signal.SIGTERM, "all processes", marks=pytest.mark.slow),
    ],
)
def test_several_processes_stop_together_for_a_scheduler_and_go_on_in_one(
    demo_data, run_command, tmp_path, number, whom
):
    log = tmp_path / "output/logs/transcmd-debug.log"
    several = [*LONG, "--nproc_per_node", 2, "--device", "cpu"]
    with start("train.py", *several, cwd=tmp_path, data=demo_data) as process:
        wait_for(log, "epoch 1/2 step 4/500", process)
        signalled = {
            "the command": [process.pid],
            "one process": training_processes(process.pid)[1:],
            "all processes": [*children_of(process.pid), process.pid],  # the last one passes it on: a second signal
        }
        for pid in signalled[whom]:
            os.kill(pid, number)
        output, _ = process.communicate(timeout=60)
    assert process.returncode == 75, output
    assert "TransCMD_interrupted.pth.tar; continue with --resume" in output and "Traceback" not in output
    files = [path.name for path in (tmp_path / CHECKPOINTS).glob("*.tar")]
    assert files == ["TransCMD_interrupted.pth.tar"]
    state = torch.load(tmp_path / CHECKPOINTS / files[0], weights_only=True)
    assert state["epoch"] == 0 and state["step"] >= 4 and state["world_size"] == 2
    with start("train.py", *LONG, "--resume", cwd=tmp_path, data=demo_data) as process:
        wait_for(log, f"epoch 1/2 step {state['step'] // 2 * 2 + 2}/500", process)
    assert "written by 2 processes and goes on in 1" in log.read_text()


def training_processes(pid: int) -> list[int]:
    """Ids of the processes that train, without those that load data, of a command that started torchrun."""
    found = []
    for child in children_of(pid):
        command, environment = (Path(f"/proc/{child}/{name}").read_text() for name in ("cmdline", "environ"))
        if "train.py" in command and "LOCAL_RANK=" in environment:
            found.append(child)
    return [child for child in found if parent_of(child) not in found]


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def test_a_killed_process_ends_all_within_seconds(demo_data, tmp_path):
    log = tmp_path / "output/logs/transcmd-debug.log"
    several = [*LONG, "--nproc_per_node", 2, "--device", "cpu"]
    with start("train.py", *several, cwd=tmp_path, data=demo_data) as process:
        wait_for(log, "epoch 1/2 step 4/500", process)
        os.kill(training_processes(process.pid)[1], signal.SIGKILL)
        begin = time.monotonic()
        output, _ = process.communicate(timeout=60)
        assert process.returncode not in (0, 75) and time.monotonic() - begin < 15, output


def test_killed_training_leaves_complete_checkpoints(demo_data, tmp_path):
    with start("train.py", "--config", "debug", "--set", "TRAIN.EPOCH=500", cwd=tmp_path, data=demo_data) as process:
        wait_for(tmp_path / "output/logs/transcmd-debug.log", "epoch 3/500", process)
        process.kill()
    files = list((tmp_path / CHECKPOINTS).glob("TransCMD_ep*.pth.tar"))
    assert files
    for path in files:
        torch.load(path, weights_only=True)


@pytest.mark.parametrize("threads", [1, 2])
def test_interrupted_testing_keeps_finished_sequences(demo_data, tmp_path, threads):
    arguments = ["mil", "debug", "--dataset_name", "LasHeR", "DepthTrack", "VisEvent", "--threads", threads]
    folder = tmp_path / "output/test/tracking_results/mil/debug"
    with start("test.py", *arguments, cwd=tmp_path, data=demo_data) as process:
        wait_for(folder / "LasHeR/run.json", "fingerprint", process)
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=60)
    assert process.returncode == 130 and "interrupted" in output, output
    assert "Traceback" not in output
    finished = json.loads((folder / "LasHeR/run.json").read_text())
    for name in finished:
        assert len((folder / f"LasHeR/{name}.txt").read_text().splitlines()) == 12


def test_packed_data_gives_the_same_results(run_command, demo_data, tmp_path):
    done = run_command("pack_lmdb.py", demo_data / "DepthTrack", "data/DepthTrack.lmdb")
    assert done.returncode == 0, done.stderr
    assert_fails(
        run_command("pack_lmdb.py", demo_data / "DepthTrack", "data/DepthTrack.lmdb"), 1, "exists", "--overwrite"
    )
    command = ["test.py", "mil", "debug", "--dataset_name", "DepthTrack", "--save_dir"]
    assert run_command(*command, "folder").returncode == 0
    assert run_command(*command, "packed", env={"TRANSCMD_DATA": str(tmp_path / "data")}).returncode == 0
    results = "test/tracking_results/mil/debug/DepthTrack"
    boxes = {p.name: p.read_text() for p in (tmp_path / "folder" / results).glob("*.txt") if "_time" not in p.name}
    assert len(boxes) == 4
    for name, text in boxes.items():
        assert (tmp_path / "packed" / results / name).read_text() == text


# wrong input


def test_configuration_errors_exit_with_2(run_command, tmp_path):
    assert_fails(run_command("train.py", "--config", "debgu"), 2, "debgu.yaml", "did you mean 'debug'")
    for pair, parts in {
        "TRIAN.EPOCH=3": ("TRIAN.EPOCH", "did you mean TRAIN.EPOCH?"),
        "TRAIN.EPOCH=3.5": ("TRAIN.EPOCH: expected int, got float 3.5",),
        "DATA.SEARCH.SIZE=128": ("TEST.SEARCH_SIZE 64 conflicts with DATA.SEARCH.SIZE 128",),
    }.items():
        assert_fails(run_command("train.py", "--config", "debug", "--set", pair), 2, *parts)
    assert_fails(run_command("vot_tracker.py", "static", "debgu"), 2, "debgu.yaml", "did you mean 'debug'")
    assert_fails(run_command("vot_tracker.py", "static", "--set", "TRAKER.X=1"), 2, "unknown key TRAKER.X")
    (tmp_path / "typo.yaml").write_text("BASE: nothing.yaml\n")
    assert_fails(run_command("train.py", "--config", "typo.yaml"), 2, "typo.yaml", "nothing.yaml")


def test_a_missing_data_root_is_named(run_command, tmp_path):
    done = run_command("train.py", "--config", "debug", env={"TRANSCMD_DATA": str(tmp_path / "nowhere")})
    assert_fails(done, 1, "LasHeR: no data set at", "nowhere/LasHeR", "TRANSCMD_DATA")
    done = run_command("test.py", "static", "debug", "--dataset", "LasHeR", env={"TRANSCMD_DATA": str(tmp_path)})
    assert_fails(done, 1, "LasHeR: no data set at", "--set DATA.ROOTS.LasHeR=DIR")


def copy_sequences(demo_data, target, name="LasHeR"):
    shutil.copytree(demo_data / name, target / name)
    return sorted(p for p in (target / name / "testingset").iterdir())


def test_damaged_data_is_named(demo_data, run_command, tmp_path):
    first, second = copy_sequences(demo_data, tmp_path / "data")
    env = {"TRANSCMD_DATA": str(tmp_path / "data")}
    image = sorted((first / "visible").iterdir())[5]
    whole = image.read_bytes()
    image.write_bytes(whole[: len(whole) // 2])
    command = ["test.py", "static", "debug", "--dataset_name", "LasHeR"]
    done = run_command(*command, env=env)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert f"failed: LasHeR/{first.name}: LasHeR/testingset/{first.name}/visible/{image.name}" in done.stderr
    assert "cut off" in done.stderr and "1 of 2 sequences finished" in done.stderr
    assert (tmp_path / f"output/test/tracking_results/static/debug/LasHeR/{second.name}.txt").is_file()

    image.unlink()  # now one modality has fewer images
    assert_fails(run_command(*command, env=env), 1, f"LasHeR/testingset/{first.name}: 11 RGB images but 12")
    image.write_bytes(whole)
    annotation = first / "visible.txt"
    rows = annotation.read_text()
    annotation.write_text(rows.strip() + "\n1,2,3,4\n5,6,7,8\n")
    assert_fails(run_command(*command, env=env), 1, f"LasHeR/{first.name}: 14 boxes for 12 frames")
    annotation.write_text(rows.replace(",", ";", 1))
    assert_fails(run_command(*command, env=env), 1, f"{first.name}/visible.txt, line 1")


def test_unreadable_training_image_ends_training(demo_data, run_command, tmp_path):
    copy_sequences(demo_data, tmp_path / "data")
    for image in (tmp_path / "data/LasHeR/trainingset").glob("*/infrared/*"):
        image.write_bytes(b"")
    only = ["--set", "DATA.TRAIN.DATASETS_NAME=[LasHeR_train]", "--set", "DATA.TRAIN.DATASETS_RATIO=[1]"]
    none = ["--set", "DATA.VAL.DATASETS_NAME=[]", "--set", "DATA.VAL.DATASETS_RATIO=[]", "--set", "TRAIN.NUM_WORKER=2"]
    done = run_command("train.py", "--config", "debug", *only, *none, env={"TRANSCMD_DATA": str(tmp_path / "data")})
    assert_fails(done, 1, "error: LasHeR/trainingset/", "/infrared/", "image is empty or cut off (0 bytes)")
    assert "Exception ignored" not in done.stderr


def test_several_machines_share_a_result_folder(run_command, tmp_path):
    for part, finished in (("2/2", 1), ("1/2", 2)):
        done = run_command("test.py", "static", "--dataset_name", "LasHeR", "--shard", part)
        assert done.returncode == 0 and "LasHeR: 1 of 1 sequences finished" in done.stderr, done.stderr
        record = tmp_path / "output/test/tracking_results/static/default/LasHeR/run.json"
        assert len(json.loads(record.read_text())) == finished
    wrong = run_command("test.py", "static", "--dataset_name", "LasHeR", "--num_gpus", 99)
    assert_fails(wrong, 1, "--num_gpus 99: torch finds")


def test_wrong_checkpoints_are_refused(trained, run_command, tmp_path):
    good = epoch_path(trained / CHECKPOINTS, 2)
    command = ["test.py", "transcmd", "debug", "--dataset_name", "LasHeR", "--checkpoint"]
    done = run_command(*command[:-1])
    assert_fails(done, 1, "TransCMD_ep0002.pth.tar: no such checkpoint", "tracking/train.py --config debug")
    cut = tmp_path / "cut.pth.tar"
    cut.write_bytes(good.read_bytes()[:20000])
    assert_fails(run_command(*command, cut), 1, "cut.pth.tar: not a checkpoint, or cut off (20000 bytes)")
    torch.save(
        {"net": torch.load(good, weights_only=True)["net"], "settings": np.random.default_rng}, tmp_path / "code.pth"
    )
    assert_fails(run_command(*command, tmp_path / "code.pth"), 1, "code.pth: refused", "would run code")
    other = ["test.py", "transcmd", "demo", "--dataset_name", "LasHeR", "--checkpoint", good]
    assert_fails(run_command(*other), 1, "weights of a different architecture", "in the model")
    resumed = ["train.py", "--config", "debug", "--resume", "--save_dir", trained / "output", "--set", "TRAIN.LR=0.5"]
    assert_fails(run_command(*resumed), 1, "written with TRAIN.LR 0.001, the config has 0.5")
    again = ["train.py", "--config", "debug", "--save_dir", trained / "output"]
    assert_fails(run_command(*again), 1, "exists already", "--resume", "--overwrite")


def test_wrong_results_are_named(trained, demo_data, run_command, tmp_path):
    assert run_command("test.py", "static", "debug", "--dataset_name", "LasHeR").returncode == 0
    folder = tmp_path / "output/test/tracking_results/static/debug/LasHeR"
    path = sorted(p for p in folder.glob("*.txt") if not p.stem.endswith(("_time", "_score")))[0]
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:7]))
    done = run_command("analysis_results.py", "--dataset_name", "LasHeR")
    assert_fails(done, 1, f"{path.stem}: 7 rows for 12 frames", path.name)
    done = run_command("analysis_results.py", "--dataset_name", "VisEvent")
    assert_fails(done, 1, "no results for VisEvent")


def test_output_that_cannot_be_written(run_command, tmp_path):
    (tmp_path / "file").write_text("not a folder")
    done = run_command("train.py", "--config", "debug", "--save_dir", "file")
    assert done.returncode == 1 and "error: file" in done.stderr and "Traceback" not in done.stderr
    done = run_command("test.py", "static", "debug", "--dataset_name", "LasHeR", "--save_dir", "file")
    assert done.returncode == 1 and "Traceback" not in done.stderr and "file" in done.stderr


def test_full_disk_ends_training_with_one_line(demo_data, run_command, tmp_path):
    (tmp_path / "output/logs").mkdir(parents=True)
    (tmp_path / CHECKPOINTS).mkdir(parents=True)
    train = f"{sys.executable} {ROOT}/tracking/train.py --config debug --set TRAIN.PICTURE_INTERVAL=0"
    limited = f"ulimit -f 20; exec {train}"  # 20 KiB a file
    environment = {**os.environ, "TRANSCMD_DATA": str(demo_data)}
    done = run(["bash", "-c", limited], cwd=tmp_path, env=environment, timeout=120)
    assert_fails(done, 1, "File too large", "TransCMD_ep0001.pth.tar")
    assert not list((tmp_path / CHECKPOINTS).glob("TransCMD_ep*")), "no half checkpoint under its final name"


# the package


def test_another_package_called_lib_is_never_imported(tmp_path, demo_data):
    (tmp_path / "lib" / "train").mkdir(parents=True)
    (tmp_path / "lib" / "__init__.py").write_text("raise RuntimeError('the wrong lib')")
    command = [sys.executable, ROOT / "tracking/train.py", "--config", "debug", "--print-config"]
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    done = run(command, cwd=tmp_path, env={**os.environ, "PYTHONPATH": path})
    assert done.returncode == 0 and "TRAIN:" in done.stdout
    assert f"another package `lib` is in {tmp_path}" in done.stderr


@pytest.mark.parametrize("command", sorted(p.name for p in (ROOT / "tracking").glob("[a-z]*.py")))
def test_every_command_has_a_help_text(run_command, command):
    done = run_command(command, "--help")
    assert done.returncode == 0 and "usage:" in done.stdout
