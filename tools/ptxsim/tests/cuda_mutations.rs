//! Bugs planted in the kernels that ship, ../../cuda/*.ptx: each must end in a fault or a wrong result.

mod support;
#[path = "support/loss.rs"]
mod loss;
#[path = "support/mutation.rs"]
mod mutation;

use loss::{Case, Element};
use ptxsim::{Module, Options, Order};
use support::text;

/// A launch as src/runtime/cuda/plan.rs would make it, or one with more rows for each block.
fn case(kernel: &'static str, element: Element, rows: usize, classes: usize) -> Case {
    let size = match element { Element::F32 => 4, Element::F64 => 8, _ => 2 };
    let vectors = classes * size / 16;
    let blank = Case {
        kernel, element, rows, classes, inner: 1, lanes: 0, grid: 2, block: 128, shared: 0, offset: 0, in_place: false, smoothing: 0.0,
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
fn cases(kernel: &'static str, element: Element) -> Vec<Case> {
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
        cases.push(plain);
        cases.push(Case { offset: 1, in_place: true, ..plain });
        cases.push(Case { offset: 3, ..plain });
    }
    cases
}

fn check(ptx: &str, kernel: &'static str, element: Element) -> Result<(), String> {
    let module = Module::parse(ptx).map_err(|error| error.to_string())?;
    for order in [Order::Ascending, Order::Random(1)] {
        let options = Options { order, instruction_limit: 50_000_000, ..Options::default() };
        for case in cases(kernel, element) {
            case.check(&module, &options)?;
        }
    }
    Ok(())
}

#[test]
fn sweep() {
    use mutation::*;
    let file = std::env::var("F").unwrap_or("f32".into());
    let element = if file == "f32" { Element::F32 } else if file == "f64" { Element::F64 } else {Element::Bf16};
    let ptx = text(&format!("../../cuda/{file}.ptx"));
    for kernel in ["rows4_forward", "rows4_gradient", "rows8_forward", "rows8_gradient", "stream_forward", "staged_gradient", "two_pass_gradient", "thread", "columns", "smooth_few", "smooth_thread", "smooth_columns", "smooth_block", "block"] {
        if !ptx.contains(&format!(".entry {kernel}(")) { continue }
        check(&ptx, kernel, element).unwrap();
        let start = ptx.find(&format!(".entry {kernel}(")).unwrap(); let body = &ptx[start..start + ptx[start..].find("\n}").unwrap()];
        let plain = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        for line in ["bar.sync", "bar.warp.sync", "shfl.sync", "cp.async", "st.shared", "ld.shared", "ld.global", "st.global"] {
            let n = body.lines().filter(|l| plain(l).contains(line)).count();
            for number in 1..=n {
                let edits: Vec<Edit> = match line { "bar.sync"|"bar.warp.sync" => vec![Edit::Drop, Edit::OnlyIf("ge 32")], "shfl.sync" => vec![Edit::OnlyIf("ge 16")], "cp.async" => vec![Edit::Drop],
                  "st.shared" => vec![Edit::Drop, Edit::Replace("]", "+4]")], "ld.shared" | "ld.global" => vec![Edit::Replace("]", "+8]")], _ => vec![Edit::Drop] };
                for (e, edit) in edits.into_iter().enumerate() {
                    let m = Mutation { name: "x", kernel, line, number, edit };
                    if body.lines().filter(|l| plain(l).contains(line)).nth(number-1).is_some_and(|l| l.contains("+") && line.starts_with("ld")||l.contains("+")&&e==1) { continue }
                    let p = m.apply(&ptx);
                    if check(&p, kernel, element).is_ok() { println!("SURVIVES {kernel} {line} {number} {e}"); } else { println!("caught {kernel} {line} {number} {e}"); }
                }
            }
        }
    }
}
