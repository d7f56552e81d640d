//! Tests that plans and PTX agree: every launch names a kernel that its module has, with parameters of the sizes of its
//! arguments, and asks for what every device has.

use std::collections::BTreeMap;

use super::element::ElementType;
use super::launch::{Call, DeviceLimits, MOST_BLOCKS, Scratch};
use super::plan::plan;
use super::problem::Problem;
use crate::loss::Reduction;
use crate::runtime::ops::Operator;

/// A kernel's head in PTX.
#[derive(Debug)]
struct Entry {
    parameters: Vec<usize>,
    most_threads: Option<u32>,
}

/// The kernels of a module, by name.
fn entries(ptx: &str) -> BTreeMap<&str, Entry> {
    ptx.split(".visible .entry ").skip(1).map(entry).collect()
}

fn entry(text: &str) -> (&str, Entry) {
    let (name, rest) = text.split_once('(').unwrap();
    let (parameters, rest) = rest.split_once(')').unwrap();
    let (directives, _) = rest.split_once('{').unwrap();
    let most_threads = directives
        .lines()
        .find_map(|line| line.trim().strip_prefix(".maxntid"))
        .map(|sizes| sizes.split(',').map(|size| size.trim().parse::<u32>().unwrap()).product());
    let parameters = parameters.split(',').map(str::trim).filter(|text| !text.is_empty()).map(size).collect();
    (name.trim(), Entry { parameters, most_threads })
}

/// Of a parameter: `.param .u64 name`, or `.param .align 8 .b8 name[200]`.
fn size(parameter: &str) -> usize {
    if let Some((_, length)) = parameter.split_once('[') {
        assert!(parameter.contains(".b8 "), "{parameter}");
        return length.trim_end_matches(']').parse().unwrap();
    }
    let kind = parameter.split_whitespace().nth(1).unwrap();
    kind.trim_start_matches(|c: char| !c.is_ascii_digit()).parse::<usize>().unwrap() / 8
}

/// An A100, an H100, and the least that the oldest device (8.6) has.
const DEVICES: [DeviceLimits; 3] = [
    DeviceLimits {
        compute_capability: (8, 0),
        multiprocessors: 108,
        shared_per_block: 163 << 10,
        shared_per_multiprocessor: 164 << 10,
        l2: 40 << 20,
    },
    DeviceLimits {
        compute_capability: (9, 0),
        multiprocessors: 132,
        shared_per_block: 227 << 10,
        shared_per_multiprocessor: 228 << 10,
        l2: 50 << 20,
    },
    DeviceLimits {
        compute_capability: (8, 6),
        multiprocessors: 20,
        shared_per_block: 99 << 10,
        shared_per_multiprocessor: 100 << 10,
        l2: 2 << 20,
    },
];

const SHAPES: [[i64; 3]; 16] = [
    [1, 2, 1],
    [1, 10, 1],
    [7, 31, 1],
    [100_000, 10, 1],
    [32_768, 256, 1],
    [32_768, 1000, 1],
    [4096, 1025, 1],
    [16_384, 4096, 1],
    [8192, 32_000, 1],
    [8192, 50_257, 1],
    [3, 128_256, 1],
    [1, 1 << 20, 1],
    [64, 21, 1 << 16],
    [1, 2, 1 << 22],
    [4, 50_257, 7],
    [1 << 31, 2, 1],
];

/// The parts of a problem that a plan may depend on: class weights, ignore_index, smoothing, misalignment, saved margins.
fn variations(problem: Problem) -> Vec<Problem> {
    let odd = 64 + 8;
    vec![
        problem,
        Problem { class_weights: 4096, ..problem },
        Problem { has_ignore_index: 1, ..problem },
        Problem { smoothing: 0.1, ..problem },
        Problem { smoothing: 0.1, class_weights: 4096, has_ignore_index: 1, ..problem },
        Problem { logits: problem.logits + odd, ..problem },
        Problem { dlogits: if problem.dlogits == 0 { 0 } else { problem.logits }, ..problem },
        Problem { margins: 4096, ..problem },
        Problem { saved_margins: if problem.dloss == 0 { 0 } else { 4096 }, ..problem },
    ]
}

fn calls() -> impl Iterator<Item = Call> {
    let operators = Operator::ALL.into_iter();
    let typed = operators.flat_map(|operator| ElementType::ALL.map(|element| (operator, element)));
    let reductions = [Reduction::Mean, Reduction::Sum, Reduction::None];
    let reduced = typed.flat_map(move |(operator, element)| reductions.map(|reduction| (operator, element, reduction)));
    reduced.flat_map(|(operator, element, reduction)| {
        SHAPES.into_iter().flat_map(move |shape| {
            let problem = problem(operator, reduction, shape);
            let loss = if operator == Operator::Gradient || reduction == Reduction::None { 0 } else { 4096 };
            let (all, scratch) = (variations(problem), Scratch::at(1 << 20));
            DEVICES.into_iter().flat_map(move |limits| {
                let call = move |problem| Call { operator, element, reduction, problem, loss, limits, scratch };
                all.clone().into_iter().map(call)
            })
        })
    })
}

fn problem(operator: Operator, reduction: Reduction, [batch, classes, inner]: [i64; 3]) -> Problem {
    let rows = batch * inner;
    Problem {
        logits: 1 << 40,
        dlogits: if operator == Operator::Loss { 0 } else { 2 << 40 },
        labels: 3 << 40,
        dloss: if operator == Operator::Gradient { 4096 } else { 0 },
        losses: if operator != Operator::Gradient && reduction == Reduction::None { 4096 } else { 0 },
        rows,
        classes,
        inner,
        share: if reduction == Reduction::Mean { 1.0 / rows as f64 } else { 1.0 },
        rho: 1.0,
        log_end: 0.75,
        steepness: 4.0,
        power: 2.0,
        ..Problem::default()
    }
}

#[test]
fn launches_of_every_plan_fit_the_ptx_and_the_device() {
    let modules = ElementType::ALL.map(|element| entries(element.ptx()));
    for call in calls() {
        let plan = plan(&call);
        assert!(!plan.launches.is_empty(), "{call:?}");
        for launch in &plan.launches {
            let module = &modules[call.element as usize];
            let entry =
                module.get(launch.kernel).unwrap_or_else(|| panic!("{} is not in {:?}", launch.kernel, call.element));
            assert_eq!(entry.parameters, *launch.arguments.sizes(), "{}", launch.kernel);
            assert!((1..=MOST_BLOCKS).contains(&launch.grid), "{launch:?} of {call:?}");
            let most_threads = entry.most_threads.unwrap_or(1024);
            assert!((1..=most_threads).contains(&launch.block), "{launch:?} of {call:?}");
            assert!(launch.shared <= call.limits.shared_per_block, "{launch:?} of {call:?}");
        }
    }
}

#[test]
fn plans_end_with_the_loss_where_there_is_one() {
    for call in calls() {
        let plan = plan(&call);
        let reduces = plan.launches.iter().filter(|launch| launch.kernel == "reduce").count();
        assert_eq!(reduces, usize::from(call.loss != 0), "{call:?}");
        let last = plan.launches.last().unwrap();
        assert_eq!(last.kernel == "reduce", call.loss != 0, "{call:?}");
    }
}

#[test]
fn heads_of_kernels_are_read() {
    let text = ".visible .entry f(\n\t.param .align 8 .b8 f_param_0[200],\n\t.param .u64 f_param_1,\n\t.param .u32 f_param_2\n)\n\
                .maxntid 128, 2, 1\n{\n\tret;\n}\n.visible .entry g()\n{\n}\n";
    let entries = entries(text);
    assert_eq!(entries["f"].parameters, [200, 8, 4]);
    assert_eq!(entries["f"].most_threads, Some(256));
    assert_eq!((entries["g"].parameters.len(), entries["g"].most_threads), (0, None));
}
