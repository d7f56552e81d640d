//! Bugs planted in the kernels that ship, ../../cuda/*.ptx: each must end in a fault or a wrong result.

#[path = "support/loss.rs"]
mod loss;
#[path = "support/mutation.rs"]
mod mutation;
mod support;

use loss::{Case, Element};
use mutation::Edit::*;
use mutation::{Mutation, assert_all_caught};
use ptxsim::{Memory, Module, Options, Order};
use support::{Argument, download_all, launch, text, upload_all};

/// A launch as src/runtime/cuda/plan.rs would make it, or one with more rows for each block.
fn case(kernel: &str, element: Element, rows: usize, classes: usize) -> Case {
    let size = match element {
        Element::F32 => 4,
        Element::F64 => 8,
        _ => 2,
    };
    let vectors = classes * size / 16;
    let blank = Case {
        kernel: kernel.to_string(),
        element,
        rows,
        classes,
        inner: 1,
        lanes: 0,
        grid: 2,
        block: 128,
        shared: 0,
        offset: 0,
        in_place: false,
        smoothing: 0.0,
    };
    match kernel {
        "rows4_forward" | "rows4_gradient" | "rows8_forward" | "rows8_gradient" => {
            let per_lane: usize = if kernel.starts_with("rows4") { 4 } else { 8 };
            let lanes = vectors.div_ceil(per_lane).next_power_of_two().max(16 / size);
            Case { lanes: lanes as i32, ..blank }
        }
        "staged_gradient" => Case { shared: vectors as u32 * 16, ..blank },
        "two_pass_gradient" => Case { block: 512, ..blank },
        "block" => Case { block: 256, ..blank },
        "columns" => Case { inner: 20, ..blank },
        "smooth_columns" => Case { inner: 20, smoothing: 0.1, ..blank },
        "smooth_block" => Case { block: 256, smoothing: 0.1, ..blank },
        "smooth_thread" | "smooth_few" => Case { smoothing: 0.1, ..blank },
        _ => blank,
    }
}

/// The launches that a kernel is checked with: aligned and not, in place and not.
fn cases(kernel: &str, element: Element) -> Vec<Case> {
    let numbers = if element == Element::F32 { 1 } else { 2 };
    let shapes: &[(usize, usize)] = match kernel {
        "rows4_forward" | "rows4_gradient" => &[(70, 33), (70, 64), (70, 130), (21, 515)],
        "rows8_forward" | "rows8_gradient" => &[(19, 600), (19, 1027)],
        "stream_forward" | "staged_gradient" => &[(7, 1500), (7, 2307)],
        "two_pass_gradient" => &[(7, 9000), (7, 9001)],
        "thread" | "smooth_thread" => &[(300, 10)],
        "smooth_few" => &[(300, 3)],
        "smooth_columns" | "columns" => &[(160, 70)],
        _ => &[(7, 100)],
    };
    let mut cases = Vec::new();
    for &(rows, classes) in shapes {
        let long = if shapes[0].1 > 33 && kernel.contains('_') && !kernel.starts_with("smooth") { numbers } else { 1 };
        let plain = case(kernel, element, rows, classes * long);
        cases.push(Case { offset: 1, in_place: true, ..plain.clone() });
        cases.push(Case { offset: 3, ..plain.clone() });
        cases.push(plain);
    }
    cases
}

fn check(ptx: &str, kernel: &str, element: Element) -> Result<(), String> {
    let module = Module::parse(ptx).map_err(|error| error.to_string())?;
    for order in [Order::Ascending, Order::Random(1)] {
        let options = Options { order, instruction_limit: 50_000_000, ..Options::default() };
        for case in cases(kernel, element) {
            case.check(&module, &options)?;
        }
    }
    Ok(())
}

fn check_sums(ptx: &str, kernel: &'static str) -> Result<(), String> {
    let module = Module::parse(ptx).map_err(|error| error.to_string())?;
    [Order::Ascending, Order::Random(1)].into_iter().try_for_each(|order| {
        check_sums_of(&module, kernel, &Options { order, instruction_limit: 10_000_000, ..Options::default() })
    })
}

/// The kernels that add up, in the module of f32.
fn check_sums_of(module: &Module, kernel: &str, options: &Options) -> Result<(), String> {
    // as many threads as the kernel takes: which that is, is the launch layer's concern
    let block = module.kernel(kernel).and_then(|kernel| kernel.max_threads()).ok_or("no bound of threads")?;
    let mut memory = Memory::new();
    let numbers: Vec<f64> = (0..600).map(|i| f64::from(i * i % 97) + 0.25).collect();
    let from = upload_all(&mut memory, &numbers);
    let to = memory.allocate(4 * 8).expect("memory");
    let run = |shape, arguments: &[Argument<'_>], memory: &mut Memory| {
        launch(module, kernel, shape, arguments, memory, options).map(drop).map_err(|fault| fault.to_string())
    };
    match kernel {
        "sum_of_weights" => {
            for grid in [1, 3] {
                let weights = loss::run_sum_of_weights(5000, (grid, block), |shape, arguments, memory| {
                    run(shape, arguments, memory)
                })?;
                equal(weights, (0..5000).filter(|row| row % 3 != 1).count() as f64)?;
            }
            Ok(())
        }
        "add_up" => {
            run((1, block, 0), &[Argument::Address(from), Argument::Number(600), Argument::Address(to)], &mut memory)?;
            equal(download_all::<f64>(&memory, to, 1)[0], numbers.iter().sum())
        }
        _ => {
            let losses: f64 = numbers.iter().step_by(2).sum();
            let weights: f64 = numbers.iter().skip(1).step_by(2).sum();
            for (mean, expected) in [(0, losses), (1, losses / weights)] {
                let arguments =
                    [Argument::Address(from), Argument::Number(300), Argument::Address(to), Argument::Number(mean)];
                run((1, block, 0), &arguments, &mut memory)?;
                equal(download_all::<f32>(&memory, to, 1)[0].into(), f64::from(expected as f32))?;
            }
            Ok(())
        }
    }
}

fn equal(found: f64, expected: f64) -> Result<(), String> {
    if found == expected { Ok(()) } else { Err(format!("the sum is {found}, expected {expected}")) }
}

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

/// For the modules whose kernels read 16 bytes at once.
const MUTATIONS: [Mutation; 51] = [
    mutation("barrier dropped", "rows4_forward", "bar.sync 0;", 2, Drop),
    mutation("barrier for half of the threads", "rows4_forward", "bar.sync 0;", 2, OnlyIf("ge 64")),
    mutation(
        "vectors that aren't aligned",
        "rows4_forward",
        "ld.global.L1::no_allocate.v4.u32",
        1,
        Replace("]", "+4]"),
    ),
    mutation(
        "registers of a vector in another order",
        "rows4_forward",
        "ld.global.L1::no_allocate.v4.u32",
        1,
        Reorder([3, 1, 2, 0]),
    ),
    mutation("early return before a barrier", "rows4_forward", "bar.sync 0;", 2, Before(EXIT_OF_ONE)),
    mutation("shuffle in a divergent branch", "rows4_gradient", "shfl.sync.bfly.b32", 1, OnlyIf("lt 16")),
    mutation("early return before a shuffle", "rows4_gradient", "shfl.sync.bfly.b32", 2, Before(EXIT_OF_ONE)),
    mutation("warp barrier dropped", "rows4_gradient", "bar.warp.sync", 1, Drop),
    mutation("warp barrier for half of the lanes", "rows4_gradient", "bar.warp.sync", 1, Replace("-1", "65535")),
    mutation(
        "second vector from the place of the first",
        "rows4_gradient",
        "ld.global.L1::no_allocate.v4.u32",
        2,
        Replace("]", "+-16]"),
    ),
    mutation(
        "vector stored a place too far",
        "rows4_gradient",
        "st.global.L1::no_allocate.v4.u32",
        1,
        Replace("], {", "+16], {"),
    ),
    mutation(
        "vectors read as constant memory",
        "rows4_gradient",
        "ld.global.L1::no_allocate.v4.u32",
        1,
        Replace("ld.global", "ld.global.nc"),
    ),
    mutation("sums of the warps in one place", "rows4_gradient", "st.shared.f64", 1, Replace("]", "+8]")),
    mutation("partial sums of the blocks swapped", "rows4_gradient", "st.global.f64", 1, Replace("]", "+8]")),
    mutation("barrier dropped", "rows8_forward", "bar.sync 0;", 4, Drop),
    mutation(
        "vectors that aren't aligned",
        "rows8_forward",
        "ld.global.L1::no_allocate.v4.u32",
        2,
        Replace("]", "+8]"),
    ),
    mutation("warp barrier dropped", "rows8_gradient", "bar.warp.sync", 1, Drop),
    mutation(
        "halves of a vector in another order",
        "rows8_gradient",
        "st.global.L1::no_allocate.v4.u32",
        1,
        Reorder([2, 3, 0, 1]),
    ),
    mutation("shuffle in a divergent branch", "rows8_gradient", "shfl.sync.bfly.b32", 3, OnlyIf("ge 16")),
    mutation("barrier dropped", "stream_forward", "bar.sync 0;", 1, Drop),
    mutation("barrier dropped", "stream_forward", "bar.sync 0;", 3, Drop),
    mutation("barrier for all warps but the first", "stream_forward", "bar.sync 0;", 2, OnlyIf("ge 32")),
    mutation("early return before a barrier", "stream_forward", "bar.sync 0;", 1, Before(EXIT_OF_ONE)),
    mutation(
        "registers of a vector in another order",
        "stream_forward",
        "ld.global.L1::no_allocate.v4.u32",
        1,
        Reorder([1, 0, 2, 3]),
    ),
    mutation("a warp's part one place too far", "stream_forward", "st.shared.f32", 1, Replace("]", "+4]")),
    mutation("parts read one past the end", "stream_forward", "ld.shared.f32", 1, Replace("]", "+128]")),
    mutation("wait for the copies dropped", "staged_gradient", "cp.async.wait_all;", 1, Drop),
    mutation(
        "copies of which no group is waited for",
        "staged_gradient",
        "cp.async.wait_all;",
        1,
        Replace("wait_all", "wait_group 0"),
    ),
    mutation(
        "copies to the wrong place",
        "staged_gradient",
        "cp.async.cg.shared.global",
        1,
        Replace("], [", "+16], ["),
    ),
    mutation(
        "copies from the wrong place",
        "staged_gradient",
        "cp.async.cg.shared.global",
        1,
        Replace("], 16", "+16], 16"),
    ),
    mutation(
        "copies from a place that isn't aligned",
        "staged_gradient",
        "cp.async.cg.shared.global",
        1,
        Replace("], 16", "+8], 16"),
    ),
    mutation("barrier dropped", "staged_gradient", "bar.sync 0;", 1, Drop),
    mutation("barrier dropped", "staged_gradient", "bar.sync 0;", 2, Drop),
    mutation("barrier for half of the threads", "staged_gradient", "bar.sync 0;", 3, OnlyIf("lt 64")),
    mutation("staged vector in another order", "staged_gradient", "ld.shared.v4.u32", 1, Reorder([1, 0, 2, 3])),
    mutation("staged vector of another thread", "staged_gradient", "ld.shared.v4.u32", 1, Replace("]", "+16]")),
    mutation("barrier dropped", "two_pass_gradient", "bar.sync 0;", 1, Drop),
    mutation("barrier dropped", "two_pass_gradient", "bar.sync 0;", 3, Drop),
    mutation("shuffle in a divergent branch", "two_pass_gradient", "shfl.sync.bfly.b32", 1, OnlyIf("lt 16")),
    mutation(
        "registers of a vector in another order",
        "two_pass_gradient",
        "ld.global.L1::no_allocate.v4.u32",
        1,
        Reorder([1, 0, 2, 3]),
    ),
    mutation("barrier dropped", "columns", "bar.sync 0;", 2, Drop),
    mutation("barrier dropped", "columns", "bar.sync 0;", 4, Drop),
    mutation("a warp's part one place too far", "columns", "st.shared.f32", 1, Replace("]", "+4]")),
    mutation("barrier dropped", "smooth_columns", "bar.sync 0;", 2, Drop),
    mutation("barrier dropped", "smooth_columns", "bar.sync 0;", 4, Drop),
    mutation("early return before a barrier", "smooth_columns", "bar.sync 0;", 1, Before(EXIT_OF_ONE)),
    mutation("barrier dropped", "smooth_block", "bar.sync 0;", 2, Drop),
    mutation("barrier dropped", "smooth_block", "bar.sync 0;", 4, Drop),
    mutation("shuffle in a divergent branch", "smooth_block", "shfl.sync.bfly.b32", 1, OnlyIf("ge 16")),
    mutation("barrier dropped", "thread", "bar.sync 0;", 2, Drop),
    mutation("barrier dropped", "smooth_few", "bar.sync 0;", 2, Drop),
];

/// What the other modules have of their own: packing, and double.
const OF_BFLOAT16: [Mutation; 3] = [
    mutation("halves swapped when they are packed", "rows4_gradient", "cvt.rn.bf16x2.f32", 17, SwapSources),
    mutation("halves swapped when they are packed", "staged_gradient", "cvt.rn.bf16x2.f32", 9, SwapSources),
    mutation("label's element of the wrong half", "rows4_forward", "ld.global.u16", 1, Replace("]", "+2]")),
];

const OF_FLOAT16: [Mutation; 2] = [
    mutation("halves swapped when they are packed", "rows8_gradient", "cvt.rn.f16x2.f32", 33, SwapSources),
    mutation(
        "vectors that aren't aligned",
        "stream_forward",
        "ld.global.L1::no_allocate.v4.u32",
        1,
        Replace("]", "+2]"),
    ),
];

const OF_FLOAT64: [Mutation; 4] = [
    mutation("barrier dropped", "block", "bar.sync 0;", 2, Drop),
    mutation("half of a double shuffled in a divergent branch", "block", "shfl.sync.bfly.b32", 2, OnlyIf("lt 16")),
    mutation("early return before a barrier", "columns", "bar.sync 0;", 1, Before(EXIT_OF_ONE)),
    mutation("a warp's part one place too far", "smooth_columns", "st.shared.f64", 1, Replace("]", "+8]")),
];

const OF_SUMS: [Mutation; 8] = [
    mutation("barrier dropped", "sum_of_weights", "bar.sync 0;", 2, Drop),
    mutation("sum of a block in the next one's place", "sum_of_weights", "st.global.f64", 1, Replace("]", "+8]")),
    mutation("shuffle in a divergent branch", "sum_of_weights", "shfl.sync.bfly.b32", 1, OnlyIf("lt 8")),
    mutation("barrier dropped", "add_up", "bar.sync 0;", 2, Drop),
    mutation("numbers read one past the end", "add_up", "ld.global.f64", 1, Replace("]", "+8]")),
    mutation("barrier dropped", "reduce", "bar.sync 0;", 2, Drop),
    mutation("barrier between two sums dropped", "reduce", "bar.sync 0;", 3, Drop),
    mutation("every thread writes the loss", "reduce", "st.global.f32", 1, Before("bar.warp.sync 0x7fffffff;")),
];

#[test]
fn cuda_bugs_in_float32_are_caught() {
    assert_all_caught(&text("../../cuda/f32.ptx"), &MUTATIONS, |ptx, kernel| check(ptx, kernel, Element::F32));
}

#[test]
fn cuda_bugs_in_other_types_are_caught() {
    let modules: [(&str, Element, &[Mutation]); 3] =
        [("bf16", Element::Bf16, &OF_BFLOAT16), ("f16", Element::F16, &OF_FLOAT16), ("f64", Element::F64, &OF_FLOAT64)];
    for (file, element, mutations) in modules {
        let ptx = text(&format!("../../cuda/{file}.ptx"));
        assert_all_caught(&ptx, mutations, |ptx, kernel| check(ptx, kernel, element));
    }
}

#[test]
fn cuda_bugs_in_sums_are_caught() {
    assert_all_caught(&text("../../cuda/f32.ptx"), &OF_SUMS, check_sums);
}

#[test]
fn every_cuda_kernel_runs() {
    for (file, element) in
        [("f32", Element::F32), ("f16", Element::F16), ("bf16", Element::Bf16), ("f64", Element::F64)]
    {
        let module = support::parse(&text(&format!("../../cuda/{file}.ptx")));
        for kernel in module.kernels() {
            let options = Options { order: Order::Random(2), ulp_noise: 2, ..Options::default() };
            let result = match kernel.name() {
                "sum_of_weights" | "add_up" | "reduce" if element == Element::F32 => {
                    check_sums_of(&module, kernel.name(), &options)
                }
                "sum_of_weights" | "add_up" | "reduce" => Ok(()),
                name => cases(name, element).iter().try_for_each(|case| case.check(&module, &options)),
            };
            result.unwrap_or_else(|found| panic!("{file} {}: {found}", kernel.name()));
        }
    }
}
