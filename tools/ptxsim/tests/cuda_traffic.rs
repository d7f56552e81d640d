//! What the kernels that ship, ../../cuda/*.ptx, ask of a GPU's memory: how often they read and write each logit, and in
//! how large pieces. `cargo test -p ptxsim --profile ci --test cuda_traffic -- --nocapture` prints it.

#[allow(dead_code, reason = "other tests use the rest of it")]
#[path = "support/loss.rs"]
mod loss;
mod support;

use loss::{Case, Element};
use ptxsim::{Module, Options};
use support::{parse, text};

/// One launch for rows of so many classes; `reads`: how often each logit is read.
struct Expected {
    kernel: &'static str,
    element: Element,
    classes: usize,
    reads: f64,
    /// over what is needed: labels, the label's logit and what lies beside the vectors
    slack: f64,
}

const fn row(kernel: &'static str, element: Element, classes: usize, reads: f64, slack: f64) -> Expected {
    Expected { kernel, element, classes, reads, slack }
}

use Element::{Bf16, F32};

/// Odd classes beside even ones: no row but the first begins at a sixteen-byte boundary.
const EXPECTED: [Expected; 18] = [
    row("rows4_forward", Bf16, 256, 1.0, 0.2),
    row("rows4_forward", Bf16, 257, 1.0, 0.2),
    row("rows8_forward", Bf16, 1000, 1.0, 0.15),
    row("rows8_forward", F32, 256, 1.0, 0.15),
    row("rows8_forward", F32, 1000, 1.0, 0.15),
    row("rows4_gradient", Bf16, 256, 1.0, 0.2),
    row("rows8_gradient", F32, 1000, 1.0, 0.15),
    row("stream_forward", Bf16, 32_000, 1.0, 0.05),
    row("stream_forward", Bf16, 50_256, 1.0, 0.04),
    row("stream_forward", Bf16, 50_257, 1.0, 0.04),
    row("stream_forward", F32, 50_257, 1.0, 0.02),
    row("staged_gradient", Bf16, 32_000, 1.0, 0.07),
    row("staged_gradient", Bf16, 50_256, 1.0, 0.06),
    row("staged_gradient", Bf16, 50_257, 1.0, 0.06),
    row("staged_gradient", F32, 50_257, 1.0, 0.03),
    row("two_pass_gradient", Bf16, 50_257, 2.0, 0.08),
    row("two_pass_gradient", Bf16, 128_256, 2.0, 0.04),
    row("two_pass_gradient", F32, 128_256, 2.0, 0.02),
];

/// [`Case`] ignores every seventh row, from the sixth on.
fn counted(rows: usize) -> usize {
    (0..rows).filter(|row| row % 7 != 5).count()
}

impl Expected {
    fn size(&self) -> usize {
        if self.element == F32 { 4 } else { 2 }
    }

    /// Enough to give all threads something to do.
    fn rows(&self) -> usize {
        if self.kernel.starts_with("rows") { 128 } else { 5 }
    }

    /// As src/runtime/cuda/plan.rs launches it on a large GPU, on few blocks.
    fn case(&self) -> Case {
        let short = self.kernel.starts_with("rows");
        let held = if self.kernel.starts_with("rows4") { 4 } else { 8 };
        let vectors = self.classes * self.size() / 16;
        let lanes = vectors.div_ceil(held).next_power_of_two().max(16 / self.size());
        Case {
            kernel: self.kernel.to_owned(),
            element: self.element,
            rows: self.rows(),
            classes: self.classes,
            inner: 1,
            lanes: if short { lanes as i32 } else { 0 },
            grid: 1,
            block: if short { 128 } else { 768 },
            shared: if self.kernel == "staged_gradient" { vectors as u32 * 16 } else { 0 },
            offset: 0,
            in_place: false,
            smoothing: 0.0,
        }
    }
}

fn check(module: &Module, expected: &Expected) {
    let name = format!("{} of {} classes", expected.kernel, expected.classes);
    let done = expected.case().check(module, &Options::default()).unwrap_or_else(|error| panic!("{name}: {error}"));
    let row_bytes = (expected.classes * expected.size()) as f64;
    let reads = done.global_bytes_loaded as f64 / (row_bytes * counted(expected.rows()) as f64);
    let writes = done.global_bytes_stored as f64 / (row_bytes * expected.rows() as f64);
    let per_load = done.global_bytes_loaded as f64 / done.global_loads as f64;
    println!(
        "{:18} {} {:6}: each logit read {reads:.3} times, written {writes:.3}, {per_load:.1} bytes a load, {:.1} PTX \
         instructions a logit",
        expected.kernel,
        if expected.element == F32 { "f32 " } else { "bf16" },
        expected.classes,
        done.thread_instructions as f64 / (counted(expected.rows()) * expected.classes) as f64,
    );
    let most = expected.reads + expected.slack;
    assert!(
        (expected.reads..=most).contains(&reads),
        "{name}: {reads} reads a logit, not {} to {most}",
        expected.reads
    );
    let wanted = if expected.kernel.ends_with("forward") { 0.0 } else { 1.0 };
    assert!((wanted..=wanted + 0.05).contains(&writes), "{name}: {writes} writes a logit");
}

#[test]
fn cuda_kernels_move_no_more_than_they_must() {
    let modules = [(F32, "f32"), (Bf16, "bf16")].map(|(element, name)| (element, parse(&text(&path(name)))));
    for expected in &EXPECTED {
        let (_, module) = modules.iter().find(|(element, _)| *element == expected.element).expect("a module");
        check(module, expected);
    }
}

fn path(module: &str) -> String {
    format!("../../cuda/{module}.ptx")
}

/// A row of 50257 numbers costs what one of 50256 does: loads stay as large.
#[test]
fn cuda_odd_rows_are_read_in_vectors_too() {
    let module = parse(&text(&path("bf16")));
    let [odd, even] = [50_257, 50_256].map(|classes| {
        let case = row("stream_forward", Bf16, classes, 1.0, 0.05).case();
        case.check(&module, &Options::default()).expect("a row that computes")
    });
    let ratio = odd.global_loads as f64 / even.global_loads as f64;
    assert!(ratio < 1.01, "{ratio} times as many loads");
    let ratio = odd.warp_instructions as f64 / even.warp_instructions as f64;
    assert!(ratio < 1.02, "{ratio} times as many instructions");
}

/// Rows that are ignored are not read.
#[test]
fn cuda_ignored_rows_are_not_read() {
    let module = parse(&text(&path("bf16")));
    let of_rows = |rows| {
        let case = Case { rows, ..row("stream_forward", Bf16, 4096, 1.0, 0.05).case() };
        case.check(&module, &Options::default()).expect("rows that compute").global_bytes_loaded
    };
    // the sixth row is ignored
    let more = of_rows(6) - of_rows(5);
    assert!(more < 4096, "{more} bytes were read for a row that does not count");
}
