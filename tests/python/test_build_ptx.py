"""tools/build_ptx: what it reads out of PTX and of ptxas, its table, its sentences. The compilers themselves run in
`tools/test cuda`."""

import importlib.machinery
import importlib.util
import re
import sys

import pytest

PTX = """\
.version 8.0
.target sm_80
.visible .entry narrow(
\t.param .align 8 .b8 narrow_param_0[200]
)
.maxntid 256, 1, 1
.minnctapersm 4
{
\tret;
}
.visible .entry free(
\t.param .u64 free_param_0,
\t.param .u32 free_param_1
)
{
\tret;
}
.visible .entry square(
)
.reqntid 16, 16, 2
{
\tret;
}
"""
VERBOSE = """\
ptxas info    : 308 bytes gmem
ptxas info    : Compiling entry function 'narrow' for 'sm_90'
ptxas info    : Function properties for narrow
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 64 registers, used 1 barriers, 384 bytes smem, 552 bytes cmem[0]
ptxas info    : Compiling entry function 'free' for 'sm_90'
ptxas info    : Function properties for free
    16 bytes stack frame, 8 bytes spill stores, 12 bytes spill loads
ptxas info    : Used 255 registers, used 0 barriers, 16 bytes cumulative stack size
"""


@pytest.fixture(scope="session")
def build_ptx(root):
    """The script as a module."""
    loader = importlib.machinery.SourceFileLoader("build_ptx", str(root / "tools" / "build_ptx"))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("build_ptx", loader))
    loader.exec_module(module)
    return module


@pytest.fixture
def sources(build_ptx, monkeypatch, tmp_path):
    """A folder in place of cuda/, and a compiler that makes PTX of any source, except of those with an error in them."""
    class Compiler:
        def ptx(self, name, source, headers, defines):
            if "error" in source:
                raise build_ptx.nvrtc.CompileError(f"{name}(1): error: as planted")
            return f"{source}{sorted(headers)}{defines}\n".encode(), ""

    kernels = tmp_path / "cuda"
    kernels.mkdir()
    monkeypatch.setattr(build_ptx, "ROOT", tmp_path)
    monkeypatch.setattr(build_ptx, "SOURCES", [kernels])
    monkeypatch.setattr(build_ptx.nvrtc, "Nvrtc", Compiler)
    for name in ("a", "b"):
        (kernels / f"{name}.cu").write_text(f"// {name}\n")
    (kernels / "shared.cuh").write_text("// shared\n")
    return kernels


@pytest.fixture
def run(build_ptx, monkeypatch, capsys):
    """Runs the script with arguments; exit code and what it said."""
    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["build_ptx", *map(str, arguments)])
        try:
            code = build_ptx.main()
        except SystemExit as exit:
            code = exit.code
        said = capsys.readouterr()
        return code, said.out + said.err

    return run


def test_launch_bounds_are_read_from_ptx(build_ptx):
    assert build_ptx.ptxas.launch_bounds(PTX) == {"narrow": 256, "square": 512}


def test_registers_shared_and_local_memory_are_read_from_ptxas(build_ptx):
    narrow, free = build_ptx.ptxas.parse(VERBOSE, "f32", "sm_90", {"narrow": 256})
    assert (narrow.name, narrow.registers, narrow.static_shared, narrow.local, narrow.threads) == ("narrow", 64, 384, 0, 256)
    assert (free.name, free.registers, free.static_shared, free.local, free.threads) == ("free", 255, 0, 36, None)
    assert free.blocks() is None


def test_what_a_called_function_spills_counts(build_ptx):
    called = VERBOSE.replace("'free'", "'helper'").replace("for free", "for helper")
    called = "\n".join(line for line in called.splitlines() if "Used 255" not in line)
    (narrow,) = build_ptx.ptxas.parse(called, "f32", "sm_90", {})
    assert narrow.local == 36


# as NVIDIA's occupancy calculator has it
@pytest.mark.parametrize("architecture, threads, registers, shared, blocks", [
    ("sm_80", 1024, 32, 0, 2),
    ("sm_80", 1024, 33, 0, 1),
    ("sm_90", 256, 64, 0, 4),
    ("sm_90", 32, 16, 0, 32),
    ("sm_120", 1024, 16, 0, 1),
    ("sm_120", 32, 16, 0, 24),
    # 24 warps fit by their registers, six to each quarter: four blocks of six warps
    ("sm_90", 192, 80, 0, 4),
    ("sm_80", 128, 16, 40 << 10, 4),
    ("sm_90", 128, 16, 40 << 10, 5),
])
def test_blocks_of_a_multiprocessor(build_ptx, architecture, threads, registers, shared, blocks):
    assert build_ptx.ptxas.occupancy.blocks(architecture, threads, registers, shared) == blocks


def test_the_table_goes_to_its_place_and_nowhere_else(build_ptx):
    table = build_ptx.ptxas_table
    kernels = build_ptx.ptxas.parse(VERBOSE, "f32", "sm_90", {"narrow": 256})
    text = table.text(kernels, ["f32"])
    assert "| `narrow` |     256 |     384 |" in text and " 64 /  4 " in text and "255 /  -" in text
    assert len({len(line) for line in text.splitlines() if line.startswith("|")}) == 1
    document = f"# Before\n{table.BEGIN}old\n{table.END}after\n"
    new = table.placed(document, text)
    assert new.startswith("# Before\n") and new.endswith("after\n") and text in new and "old" not in new
    assert table.placed(new, text) == new
    with pytest.raises(table.NoPlace, match="no place for the table"):
        table.placed("# Before\n", text)


def test_writes_and_then_finds_nothing_to_complain_about(sources, run):
    assert run()[0] == 0
    assert (sources / "a.ptx").read_bytes() == b"// a\n['shared.cuh'][]\n"
    assert run("--check")[0] == 0


def test_check_says_which_file_differs_and_what_to_do(sources, run):
    run()
    (sources / "a.cu").write_text("// changed\n")
    (sources / "b.ptx").unlink()
    (sources / "gone.ptx").write_text("")
    before = (sources / "a.ptx").read_bytes()
    code, said = run("--check")
    assert code == 1 and (sources / "a.ptx").read_bytes() == before
    assert re.search(r"cuda/a.ptx is not what cuda/a.cu and its headers give \(line 1 is '// a', should be '// changed'\)", said)
    assert "run `tools/build_ptx a` and commit it" in said
    assert "cuda/b.ptx is missing; run `tools/build_ptx b`" in said
    assert "cuda/gone.ptx has no source gone.cu; remove it" in said


def test_nothing_is_written_where_one_source_does_not_compile(sources, run):
    (sources / "b.cu").write_text("error\n")
    code, said = run()
    assert code == 1 and "b.cu(1): error: as planted" in said and "nothing written" in said
    assert not list(sources.glob("*.ptx*"))


def test_experiments_go_elsewhere(sources, run, tmp_path):
    assert run("a", "--define", "X=1", "--output", tmp_path / "other")[0] == 0
    assert (tmp_path / "other" / "a.ptx").read_bytes().endswith(b"['X=1']\n")
    assert not list(sources.glob("*.ptx"))


@pytest.mark.parametrize("arguments, sentence", [
    (["--define", "X=1"], "name a folder for them with --output"),
    (["--check", "--output", "x"], "doesn't go with --output"),
    (["nothere"], "no source nothere.cu; there are: a, b"),
    (["--table"], "--table goes with --ptxas"),
    (["--ptxas", "--define", "X=1", "--output", "x"], "--ptxas assembles the files beside the sources"),
])
def test_options_that_make_no_sense_get_a_sentence(sources, run, arguments, sentence):
    code, said = run(*arguments)
    assert code == 2 and sentence in " ".join(said.split())


def test_a_system_without_the_compiler_is_told_so(build_ptx, sources, run, monkeypatch):
    def none():
        return build_ptx.wheels.Wheel("compiler", "1.0", {"x86_64": "00"}).install()

    monkeypatch.setattr(build_ptx.nvrtc, "Nvrtc", none)
    monkeypatch.setattr(build_ptx.wheels.platform, "machine", lambda: "riscv64")
    code, said = run("--check")
    assert code == 3 and "compiler 1.0 exists for Linux on x86_64 only, not for" in said


def test_kernels_that_spill_are_named(build_ptx, sources, run, monkeypatch):
    run()
    kernels = build_ptx.ptxas.parse(VERBOSE, "a", "sm_90", {})
    monkeypatch.setattr(build_ptx, "KERNELS", sources)
    monkeypatch.setattr(build_ptx.ptxas, "assemble", lambda paths: (kernels, []))
    code, said = run("--ptxas")
    assert code == 1 and "a.ptx: free uses 36 bytes of local memory" in said and "on sm_90" in said
    assert "narrow uses" not in said
    monkeypatch.setattr(build_ptx.ptxas, "assemble", lambda paths: ([], ["a.ptx for sm_90: refused"]))
    code, said = run("--ptxas")
    assert code == 1 and "a.ptx for sm_90: refused" in said
