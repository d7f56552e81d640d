"""tools/gpu_check where there is no GPU: what it says, its checks on the CPU, its report of made-up measurements."""

import argparse
import importlib.machinery
import importlib.util
import json
import os
import stat
import subprocess
import sys

import pytest

# numbers that nobody measured, chosen so that each goal is met or missed by a little
MADE_UP = "MADE-UP TEST DATA"
READ, COPY = 3.0e12, 2.8e12


@pytest.fixture(scope="session")
def gpu_check(root):
    """The script as a module."""
    loader = importlib.machinery.SourceFileLoader("gpu_check", str(root / "tools" / "gpu_check"))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("gpu_check", loader))
    loader.exec_module(module)
    return module


@pytest.fixture
def run(gpu_check, monkeypatch, capsys):
    """Runs the script with arguments; exit code and what it said."""
    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["gpu_check", *map(str, arguments)])
        try:
            code = gpu_check.main()
        except SystemExit as exit:
            code = exit.code
        said = capsys.readouterr()
        return code, said.out + said.err

    return run


@pytest.fixture
def with_gpu(gpu_check, monkeypatch):
    monkeypatch.setattr(gpu_check.gpu, "describe", lambda: {"name": MADE_UP, "driver": "1.2", "cuda": "12.0"})


def program(path, text, code=0):
    """A program that prints a text and ends with a code."""
    path.write_text(f"#!/bin/sh\ncat <<'END'\n{text}\nEND\nexit {code}\n")
    path.chmod(path.stat().st_mode | stat.S_IEXEC)
    return path


def suite(folder, passed=3, failed=0, code=0):
    return program(folder / "cuda_tests", f"test result: {'ok' if not code else 'FAILED'}. {passed} passed; {failed} failed; "
                                          "0 ignored; 0 measured; 0 filtered out", code)


def test_without_a_gpu_it_says_so_and_is_content(gpu_check, run, monkeypatch):
    monkeypatch.setattr(gpu_check.gpu, "describe", lambda: None)
    assert run() == (0, "no GPU, skipped\n")
    assert run("correctness", "bench") == (0, "no GPU, skipped\n")


@pytest.mark.parametrize("arguments, sentence", [
    (["nothing"], "no step nothing; there are: doctor, correctness, sanitizer, session, bench, peers, report"),
    (["--bundle", "/nowhere"], "no file /nowhere; `tools/gpu_check bundle /nowhere` makes it"),
    (["bench", "--write"], "--write goes with the step report"),
    (["--shape", "4,1"], "4,1: write ROWS,CLASSES with at least 2 classes"),
    (["bundle", "a"], "bundle takes a file to write, whose name ends in .tar.xz"),
])
def test_options_that_make_no_sense_get_a_sentence(run, arguments, sentence):
    code, said = run(*arguments)
    assert code == 2 and sentence in " ".join(said.split())


def test_a_report_of_nothing_says_where_results_come_from(run, tmp_path):
    code, said = run("report", "--output", tmp_path)
    assert code == 1 and "nothing to report" in said


def test_a_program_that_is_not_there_is_named(run, with_gpu, tmp_path):
    code, said = run("correctness", "--tests", tmp_path / "gone", "--output", tmp_path)
    assert code == 1 and f"no file {tmp_path / 'gone'} (--tests)" in said


def test_correctness_runs_the_program_that_is_named(run, with_gpu, tmp_path):
    code, said = run("correctness", "--tests", suite(tmp_path), "--output", tmp_path / "out")
    assert code == 0 and "correctness: passed: 3 tests" in said
    saved = json.loads((tmp_path / "out" / "correctness.json").read_text())
    assert saved["result"] == "passed" and saved["tests"]["passed"] == 3 and saved["gpu"]["name"] == MADE_UP


def doctor_says(folder, problem=None, device_problem=None):
    device = {"name": MADE_UP, "compute_capability": "9.0", "problem": device_problem}
    driver = None if problem else {"cuda_version": "12.0", "devices": [device]}
    return program(folder / "elonnx", json.dumps({"report": {"cuda": {"driver": driver, "problem": problem}}}))


def test_doctor_wants_kernels_that_load(run, with_gpu, tmp_path):
    code, said = run("doctor", "--elonnx", doctor_says(tmp_path), "--output", tmp_path)
    assert code == 0 and f"all kernels load on {MADE_UP} (9.0)" in said
    code, said = run("doctor", "--elonnx", doctor_says(tmp_path, device_problem="too old"), "--output", tmp_path)
    assert code == 1 and f"doctor: FAILED: {MADE_UP}: too old" in said
    code, said = run("doctor", "--elonnx", doctor_says(tmp_path, problem="no driver"), "--output", tmp_path)
    assert code == 1 and "doctor: FAILED: no driver" in said


@pytest.mark.parametrize("numbers, why", [
    (dict(passed=2, failed=1, code=101), "exit code 101"),
    # what selects tests may select none: that is no pass
    (dict(passed=0), "no test ran"),
])
def test_correctness_fails_where_it_should(run, with_gpu, tmp_path, numbers, why):
    code, said = run("correctness", "--tests", suite(tmp_path, **numbers), "--output", tmp_path)
    assert code == 1 and "correctness: FAILED" in said and why in said


def test_the_stand_in_is_not_used_on_a_gpu(gpu_check, tmp_path):
    shows = tmp_path / "shows"
    shows.write_text("#!/bin/sh\necho ELONNX_TEST_GPU is $ELONNX_TEST_GPU\n")
    shows.chmod(0o755)
    assert "ELONNX_TEST_GPU is 1" in gpu_check.correctness.run([shows], 10)["output"]


def test_a_program_that_hangs_is_stopped(gpu_check, tmp_path):
    hangs = tmp_path / "hangs"
    hangs.write_text("#!/bin/sh\necho begun\nexec sleep 60\n")
    hangs.chmod(0o755)
    done = gpu_check.correctness.run([hangs], 0.3)
    assert done["code"] is None and "begun" in done["output"]
    assert gpu_check.correctness.judged(done, 0.3)["why"] == "stopped after 0.3 s"


@pytest.mark.parametrize("code, summary, passes", [
    (0, "========= ERROR SUMMARY: 0 errors", True),
    (86, "========= ERROR SUMMARY: 2 errors", False),
    (0, "", False),
])
def test_every_checker_must_find_nothing_and_say_so(run, with_gpu, tmp_path, code, summary, passes):
    text = f"test result: ok. 3 passed; 0 failed; 0 ignored\n{summary}"
    checker = program(tmp_path / "compute-sanitizer", text, code)
    exit_code, said = run("sanitizer", "--sanitizer", checker, "--tests", suite(tmp_path), "--output", tmp_path)
    assert exit_code == (0 if passes else 1)
    if not passes:
        assert all(tool in said for tool in ("memcheck", "racecheck", "initcheck", "synccheck"))
        assert ("ERROR SUMMARY: 2 errors" if summary else "says no summary") in said


def test_steps_without_what_they_need_are_not_run(gpu_check, run, with_gpu, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    code, said = run("correctness", "bench", "session", "--python", "/nowhere/python", "--output", tmp_path)
    assert code == 0 and said.count("NOT RUN") == 3
    assert "name the file with --tests" in said and "--bench" in said and "/nowhere/python" in said


def test_session_needs_the_provider(gpu_check):
    lacking = gpu_check.onnxruntime_session.what_lacks(sys.executable, "CUDAExecutionProvider")
    assert "has no CUDAExecutionProvider" in lacking and "onnxruntime-gpu" in lacking
    assert gpu_check.onnxruntime_session.what_lacks(sys.executable, "CPUExecutionProvider") is None


def test_the_checks_of_a_session_pass_on_the_cpu(gpu_check, elonnx, plugin, root, tmp_path):
    patched = tmp_path / "patched.onnx"
    elonnx("patch", root / "onnx_models" / "cross_entropy" / "network.onnx", "-o", patched)
    task = {"provider": "CPUExecutionProvider", "plugin": plugin, "patched": str(patched)}
    found = gpu_check.onnxruntime_session.run(sys.executable, task, 120)
    results = {check["check"]: check["result"] for check in found["checks"]}
    assert results == {"environment": "passed", "placement": "passed", "operators": "passed", "patched": "passed",
                       "training": "passed", "cuda_graph": "NOT RUN"}, found
    assert found["result"] == "passed"


def test_a_session_without_the_plugin_fails_with_a_reason(gpu_check, tmp_path):
    task = {"provider": "CPUExecutionProvider", "plugin": str(tmp_path / "gone.so"), "patched": None}
    found = gpu_check.onnxruntime_session.run(sys.executable, task, 120)
    assert found["result"] == "FAILED" and "placement" in found["why"] and "gone.so" in found["why"]


def records(shape, dtype, shares, how="graph"):
    """Measurements of which the passes take so many parts of what their limit takes."""
    size = shape[0] * shape[1] * {"bf16": 2, "f32": 4}[dtype]
    lines = [{"name": "read: 4 blocks", "limit": "read", "bytes": size, "seconds": [size / READ]},
             {"name": "copy: cuMemcpy", "limit": "copy", "bytes": 2 * size, "seconds": [2 * size / COPY]}]
    for name, share in shares.items():
        limit = lines[0 if name == "forward" else 1]
        lines.append({"name": name, "limit": limit["limit"], "bytes": limit["bytes"],
                      # an outlier on each side: the median counts
                      "seconds": [limit["seconds"][0] / share * factor for factor in (0.5, 1, 9)]})
    return [{"shape": list(shape), "dtype": dtype, "how": how, **line} for line in lines]


def made_up_outcomes():
    shares = {"forward": 0.95, "backward": 0.9, "fused": 0.91}
    own = records((8192, 50257), "bf16", shares) + records((8192, 50256), "bf16", {**shares, "fused": 0.999})
    own += records((32768, 256), "f32", {**shares, "forward": 0.7499})
    # the same with the cost of calls: the graph's number counts
    own += records((32768, 256), "f32", {name: 0.1 for name in shares}, "calls")
    fused = 2 * 8192 * 50257 * 2 / COPY / 0.91
    peers = [{"shape": [8192, 50257], "dtype": "bf16", "peer": peer, "form": "forward + backward", "how": "calls",
              "wrong": wrong, "median": fused * factor, "name": f"{peer}, forward + backward"}
             for peer, factor, wrong in (("PyTorch eager EL", 12.0, True), ("torch.compile CE", 1.96, False))]
    common = {"date": "2000-01-01", "result": "passed", "gpu": {"name": MADE_UP, "driver": "1.2", "cuda": "12.0"}}
    clocks = {"sm_clock_mhz": {"median": 1700, "least": 1600, "most": 1755}}
    return {"bench": {**common, "clocks": clocks, "operators": own},
            "peers": {**common, "results": peers, "missing": ["QuACK: ImportError"], "versions": {"torch": "0.0"}}}


def test_the_report_holds_the_numbers_against_the_goals(gpu_check):
    text = gpu_check.measurements.section(made_up_outcomes())
    assert f"2000-01-01, {MADE_UP}, driver 1.2 (CUDA 12.0)" in text and "1700 MHz while it ran (1600 to 1755)" in text
    assert "| correctness | NOT RUN |" in text and "Not measured: QuACK: ImportError." in text
    goals = {line.split("|")[1].strip(): [cell.strip() for cell in line.split("|")[3:5]]
             for line in text.split("| goal |")[1].splitlines()[2:]}
    assert goals["forward, C ≥ 8K, of the read limit"] == ["95.0 %", "yes"]
    assert goals["fused, C ≥ 8K, of the copy limit"] == ["91.0 %", "yes"]
    # 0.91 of the limit against 0.999
    assert goals["C = 50257, of the speed of 50256"] == ["91.0 %", "no"]
    # rounded down, so that 74.99 % does not look like the goal
    assert goals["C ≤ 1K, of the limit, any pass"] == ["74.9 %", "no"]
    assert goals["fused, against PyTorch eager EL"] == ["12.0 ×", "yes"]
    assert goals["fused, against torch.compile CE"] == ["1.9 ×", "no"]
    assert "(12.0×)*" in text and "(2.0×) |" in text
    assert "| 8192, 50257 | bf16 | 3000, 2800 |" in text


def test_goals_that_nothing_was_measured_for_are_not_met(gpu_check):
    bench = {**made_up_outcomes()["bench"], "operators": records((32768, 256), "f32", {"forward": 0.9})}
    text = gpu_check.measurements.section({"bench": bench})
    assert text.count("not measured |") == 5 and "yes" in text


def test_the_report_goes_to_its_place(gpu_check, run, tmp_path, monkeypatch):
    readme = tmp_path / "README.md"
    monkeypatch.setattr(gpu_check, "README", readme)
    gpu_check.outcome.save(tmp_path, "bench", made_up_outcomes()["bench"])
    readme.write_text("# Measurements\n")
    code, said = run("report", "--write", "--output", tmp_path)
    assert code == 1 and "no place for the section" in said and readme.read_text() == "# Measurements\n"
    place = gpu_check.measurements
    readme.write_text(f"# Measurements\n{place.BEGIN}not yet\n{place.END}## Next\n")
    assert run("report", "--write", "--output", tmp_path)[0] == 0
    text = readme.read_text()
    assert MADE_UP in text and "not yet" not in text and text.endswith("## Next\n")


def test_measurements_of_the_stand_in_are_not_written(gpu_check, run, tmp_path, monkeypatch):
    bench = made_up_outcomes()["bench"]
    gpu_check.outcome.save(tmp_path, "bench", {**bench, "gpu": {**bench["gpu"], "name": "ptxsim device 0"}})
    monkeypatch.setattr(gpu_check, "README", tmp_path / "README.md")
    code, said = run("report", "--write", "--output", tmp_path)
    assert code == 1 and "ptxsim device 0 is no GPU" in said and not (tmp_path / "README.md").exists()


def test_peers_that_are_stopped_keep_what_they_measured(gpu_check, tmp_path):
    line = json.dumps({"shape": [4, 5], "dtype": "f32", "name": MADE_UP, "median": 1.0})
    script = tmp_path / "python"
    script.write_text(f"#!/bin/sh\necho '{line}'\nexec sleep 60\n")
    script.chmod(0o755)
    options = argparse.Namespace(torch=str(script), shapes=[[4, 5]], dtypes=["f32"], bench_seconds=1.0, seconds=0.5)
    found = gpu_check.benchmark.measure_peers(options)
    assert len(found["results"]) == 1 and "all after MADE-UP TEST DATA" in found["missing"][0]
    assert "stopped after 0.5 s" in found["missing"][0]


def test_readme_has_a_place_for_the_report(gpu_check):
    assert "x" in gpu_check.measurements.placed(gpu_check.README.read_text(), "x")


def test_clocks_are_read_from_nvidia_smi(gpu_check, tmp_path, monkeypatch):
    smi = tmp_path / "nvidia-smi"
    smi.write_text("#!/bin/sh\necho '1755, 2619, [N/A], 40'\necho '1700, 2619, [N/A], 41'\necho '1710, 26'\nexec sleep 60\n")
    smi.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with gpu_check.gpu.Watch() as watch:
        subprocess.run(["sleep", "0.3"], check=True)
    assert watch.facts["sm_clock_mhz"] == {"median": 1727.5, "least": 1700, "most": 1755}
    assert watch.facts["temperature_c"]["most"] == 41 and "power_w" not in watch.facts


def test_a_bundle_holds_what_the_steps_ask_for(gpu_check, run, with_gpu, tmp_path, monkeypatch):
    made = tmp_path / "made"
    made.mkdir()
    given = {"tests": suite(made), "elonnx": doctor_says(made)}
    for key in ("bench", "plugin"):
        given[key] = program(made / key, "")
    monkeypatch.setattr(gpu_check.bundle, "add_sanitizer", lambda folder: None)
    # programs of the test are scripts, which strip does not know
    monkeypatch.setattr(gpu_check.bundle.shutil, "which", lambda name: None)
    archive = tmp_path / "bundle.tar.xz"
    options = [part for key, path in given.items() for part in (f"--{key}", path)]
    code, said = run("bundle", archive, *options)
    assert code == 0 and all(name in said for name in ("cuda_tests", "cuda_bench", "elonnx", gpu_check.programs.PLUGIN))
    code, said = run("doctor", "correctness", "--bundle", archive, "--output", tmp_path / "out")
    assert code == 0 and "correctness: passed: 3 tests" in said and "doctor: passed" in said


def test_a_file_that_is_no_bundle_gets_a_sentence(run, with_gpu, tmp_path):
    archive = tmp_path / "bundle.tar.xz"
    archive.write_bytes(b"junk")
    code, said = run("correctness", "--bundle", archive, "--output", tmp_path)
    assert code == 1 and "bundle.tar.xz is no bundle" in said


def test_shapes_are_rows_and_classes(gpu_check):
    assert gpu_check.shape("8192,50257") == [8192, 50257]
    with pytest.raises(argparse.ArgumentTypeError):
        gpu_check.shape("8192,50257,3")


@pytest.mark.skipif("ELONNX_TORCH" not in os.environ, reason="ELONNX_TORCH names a Python with torch")
def test_losses_of_pytorch_are_right_and_timed(root):
    task = {"shapes": [[64, 101]], "dtypes": ["f32", "bf16"], "seconds": 0.01, "device": "cpu", "compiled": False}
    program = root / "tools" / "gpu_check_lib" / "in_torch_on_gpu.py"
    done = subprocess.run([os.environ["ELONNX_TORCH"], program, json.dumps(task)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    versions, *results = [json.loads(line) for line in done.stdout.splitlines()]
    assert "torch" in versions["versions"]
    eager = [result for result in results if result.get("peer", "").startswith("PyTorch eager")]
    assert len(eager) == 8
    for result in eager:
        assert not result["wrong"] and max(result["errors"].values()) > 0 and result["median"] > 0, result
