//! Bugs as people write them, planted in tests/kernels/softmax.ptx: each must end in a fault or a wrong result.

#[path = "support/mutation.rs"]
mod mutation;
mod support;

use mutation::Edit::*;
use mutation::{Mutation, assert_all_caught};
use ptxsim::{Memory, Module, Options, Order};
use support::{Argument, Random, download_all, launch, text, upload_all};

const fn mutation(
    name: &'static str,
    kernel: &'static str,
    line: &'static str,
    number: usize,
    edit: mutation::Edit,
) -> Mutation {
    Mutation { name, kernel, line, number, edit }
}

const EXIT_OF_ONE: &str = "{ .reg .pred %q; .reg .b32 %t; mov.u32 %t, %tid.x; setp.eq.u32 %q, %t, 5; @%q ret; }";

const MUTATIONS: [Mutation; 46] = [
    mutation("barrier dropped after the parts of the maximum", "softmax", "bar.sync 0;", 1, Drop),
    mutation("barrier dropped after the parts of the sum", "softmax", "bar.sync 0;", 2, Drop),
    mutation("barrier for half of the threads", "softmax", "bar.sync 0;", 1, OnlyIf("lt 64")),
    mutation("barrier for half of a warp", "softmax", "bar.sync 0;", 1, OnlyIf("lt 16")),
    mutation("early return before a barrier", "softmax", "bar.sync 0;", 1, Before(EXIT_OF_ONE)),
    mutation("early return before a shuffle", "softmax", "shfl.sync.bfly.b32 %r132", 1, Before(EXIT_OF_ONE)),
    mutation("shuffle in a divergent branch", "softmax", "shfl.sync.bfly.b32 %r132", 1, OnlyIf("lt 16")),
    mutation("shuffle whose mask lacks half of the lanes", "softmax", "mov.u32 %r131, -1;", 1, Replace("-1", "65535")),
    mutation("shuffle over eight lanes too few", "softmax", "shfl.sync.bfly.b32 %r185", 1, Before("mov.u32 %r183, 8;")),
    mutation("shuffle up for shuffle across", "softmax", "shfl.sync.bfly.b32 %r194", 1, Replace("bfly", "up")),
    mutation("shared memory read one past the end", "softmax", "_ZZ8greatestfE4part+12]", 1, Replace("+12", "+16")),
    mutation("shared memory read far past the end", "softmax", "_ZZ5totalfE4part+12]", 1, Replace("+12", "+4096")),
    mutation("part of the wrong warp", "softmax", "_ZZ5totalfE4part+8]", 1, Replace("+8", "+4")),
    mutation("every lane writes the warp's part", "softmax", "@%p32 bra", 1, Drop),
    mutation(
        "parts written one place too far",
        "softmax",
        "st.shared.f32 [%rd108]",
        1,
        Replace("[%rd108]", "[%rd108+4]"),
    ),
    mutation("16-byte load that isn't aligned", "softmax", "ld.global.v4.f32", 1, Replace("]", "+4]")),
    mutation("the head of the row isn't peeled", "softmax", "and.b32 %r86, %r85, 12;", 1, Replace("12", "0")),
    mutation("alignment of the result isn't looked at", "softmax", "and.b64 %rd52, %rd51, 15;", 1, Replace("15", "0")),
    mutation("vector count rounded up", "softmax", "shr.s32 %r1, %r92, 2;", 1, Before("add.s32 %r92, %r92, 3;")),
    mutation(
        "vector count one too small",
        "softmax",
        "setp.ge.s32 %p16, %r254, %r1;",
        1,
        Before("sub.s32 %r1, %r1, 1;"),
    ),
    mutation(
        "bound of the tail off by one",
        "softmax",
        "setp.ge.s32 %p78, %r29, %r82;",
        1,
        Replace("setp.ge", "setp.gt"),
    ),
    mutation(
        "first bound of the tail off by one",
        "softmax",
        "setp.ge.u32 %p26, %r29, %r82;",
        1,
        Replace("setp.ge", "setp.gt"),
    ),
    mutation(
        "tail read from the neighbour's place",
        "softmax",
        "ld.global.f32 %f435, [%rd220];",
        1,
        Replace("[%rd220]", "[%rd220+-4]"),
    ),
    mutation(
        "tail read as constant memory",
        "softmax",
        "ld.global.f32 %f435",
        1,
        Replace("ld.global.f32", "ld.global.nc.f32"),
    ),
    mutation("vectors read as constant memory", "softmax", "ld.global.v4.f32", 6, Replace("ld.global", "ld.global.nc")),
    mutation("registers of a vector load swapped", "softmax", "ld.global.v4.f32 {%f315", 1, Reorder([1, 0, 2, 3])),
    mutation("halves of a vector store swapped", "softmax", "st.global.v4.f32", 1, Reorder([2, 3, 0, 1])),
    mutation("stride of the vectors halved", "softmax", "add.s32 %r254, %r254, 512;", 1, Replace("512", "256")),
    mutation("stride of the bytes doubled", "softmax", "add.s64 %rd224, %rd224, 2048;", 1, Replace("2048", "4096")),
    mutation(
        "rows of all blocks are the first",
        "softmax",
        "mul.lo.s64 %rd47, %rd46, %rd45;",
        1,
        Replace("%rd45", "0"),
    ),
    mutation("minimum for maximum", "softmax", "max.f32 %f17, %f116, %f117;", 1, Replace("max", "min")),
    mutation("difference with the wrong sign", "softmax", "sub.f32 %f436, %f435, %f18;", 1, SwapSources),
    mutation("wait for the copies dropped", "softmax_staged", "cp.async.wait_group 0;", 1, Drop),
    mutation("wait that leaves a group out", "softmax_staged", "cp.async.wait_group 0;", 1, Replace("0", "1")),
    mutation("copies in no group", "softmax_staged", "cp.async.commit_group;", 1, Drop),
    mutation("barrier after the copies dropped", "softmax_staged", "bar.sync 0;", 1, Drop),
    mutation("copies to the wrong place", "softmax_staged", "cp.async.cg.shared.global", 1, Replace("], [", "+16], [")),
    mutation(
        "copies from a place that isn't aligned",
        "softmax_staged",
        "cp.async.cg.shared.global",
        1,
        Replace("], 16", "+4], 16"),
    ),
    mutation("copies of half a vector", "softmax_staged", "cp.async.cg.shared.global", 1, Replace("], 16", "], 8")),
    mutation("barrier after the parts dropped", "softmax_staged", "bar.sync 0;", 2, Drop),
    mutation(
        "row read past its end",
        "softmax_staged",
        "setp.ge.s32 %p6, %r144, %r51;",
        1,
        Before("add.s32 %r51, %r51, 1;"),
    ),
    mutation("first warp barrier dropped", "transpose", "bar.warp.sync -1;", 1, Drop),
    mutation("second warp barrier dropped", "transpose", "bar.warp.sync -1;", 2, Drop),
    mutation("warp barrier for half of the lanes", "transpose", "bar.warp.sync -1;", 1, Replace("-1", "65535")),
    mutation("tiles that overlap", "transpose", "mul.wide.u32 %rd7, %r1, 4224;", 1, Replace("4224", "4096")),
    mutation("one tile too many", "transpose", "setp.lt.s32 %p2, %r15, %r7;", 1, Replace("setp.lt", "setp.le")),
];

#[test]
fn planted_bugs_are_caught() {
    assert_all_caught(&text("tests/kernels/softmax.ptx"), &MUTATIONS, check);
}

/// Runs the kernel on rows of many lengths and places: the fault or the first wrong number.
fn check(ptx: &str, kernel: &str) -> Result<(), String> {
    let module = Module::parse(ptx).map_err(|error| error.to_string())?;
    for order in [Order::Ascending, Order::Random(1), Order::Random(2)] {
        let options = Options { order, instruction_limit: 10_000_000, ..Options::default() };
        match kernel {
            "transpose" => check_transpose(&module, &options)?,
            "softmax_staged" => {
                for columns in [4, 128, 500, 3000] {
                    check_softmax(&module, kernel, columns, [0, 0], false, &options)?;
                }
            }
            _ => {
                for columns in [1, 3, 4, 31, 130, 515, 2050] {
                    for offsets in [[0, 0], [1, 1], [3, 0]] {
                        check_softmax(&module, kernel, columns, offsets, offsets[0] == offsets[1], &options)?;
                    }
                }
            }
        }
    }
    Ok(())
}

fn check_softmax(
    module: &Module,
    kernel: &str,
    columns: usize,
    [from, to]: [usize; 2],
    in_place: bool,
    options: &Options,
) -> Result<(), String> {
    let rows = 3;
    let mut random = Random(columns as u64);
    let x: Vec<f32> = (0..from + rows * columns).map(|_| random.fraction() as f32 * 12.0 - 6.0).collect();
    let mut memory = Memory::new();
    let read = upload_all(&mut memory, &x) + 4 * from as u64;
    let written =
        if in_place { read } else { memory.allocate(4 * (to + rows * columns)).expect("memory") + 4 * to as u64 };
    let shared = if kernel == "softmax_staged" { 4 * columns as u32 } else { 0 };
    let arguments = [Argument::Address(read), Argument::Address(written), Argument::Number(columns as i32)];
    launch(module, kernel, (rows as u32, 128, shared), &arguments, &mut memory, options).map_err(|f| f.to_string())?;
    let y = download_all::<f32>(&memory, written, rows * columns);
    for (row, found) in x[from..].chunks(columns).zip(y.chunks(columns)) {
        let most = row.iter().fold(f64::NEG_INFINITY, |most, v| most.max(f64::from(*v)));
        let sum: f64 = row.iter().map(|v| (f64::from(*v) - most).exp()).sum();
        for (place, (v, found)) in row.iter().zip(found).enumerate() {
            let expected = (f64::from(*v) - most).exp() / sum;
            // a NaN is no good either
            if (f64::from(*found) - expected).abs() <= 1e-5 * expected {
                continue;
            }
            return Err(format!("column {place} of {columns} is {found}, expected {expected}"));
        }
    }
    Ok(())
}

fn check_transpose(module: &Module, options: &Options) -> Result<(), String> {
    let tiles = 9;
    let x: Vec<u32> = (0..tiles * 1024).collect();
    let mut memory = Memory::new();
    let (from, to) = (upload_all(&mut memory, &x), memory.allocate(4 * x.len()).expect("memory"));
    let arguments = [Argument::Address(from), Argument::Address(to), Argument::Number(tiles as i32)];
    launch(module, "transpose", (2, 64, 0), &arguments, &mut memory, options).map_err(|fault| fault.to_string())?;
    let y = download_all::<u32>(&memory, to, x.len());
    let expected = (0..tiles * 1024).map(|i| i / 1024 * 1024 + i % 32 * 32 + i % 1024 / 32);
    if expected.eq(y) { Ok(()) } else { Err("not transposed".into()) }
}
