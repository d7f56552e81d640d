//! The passes that are timed.

use elonnx::loss::{EncouragingLoss, ForwardOutput, Isa, LossError, Parallel, Partial, Problem, Upstream};

use crate::buffers::{IGNORED, Slot};
use crate::dtype::Dtype;

/// What the pass computes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Pass {
    /// Loss and margins.
    Forward,
    /// The gradient, from the margins.
    Backward,
    /// Loss, margins and gradient.
    Fused,
}

/// A pass and the parameters it runs with.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Form {
    pub pass: Pass,
    /// Label smoothing 0.1.
    pub smooth: bool,
    /// 90 % of the rows are ignored.
    pub ignored: bool,
}

impl Form {
    /// With fewer than ten rows none can be ignored in nine of ten.
    pub fn all(rows: usize) -> impl Iterator<Item = Form> {
        let form = |pass, smooth, ignored| Form { pass, smooth, ignored };
        [
            form(Pass::Forward, false, false),
            form(Pass::Backward, false, false),
            form(Pass::Fused, false, false),
            form(Pass::Forward, true, false),
            form(Pass::Backward, true, false),
            form(Pass::Fused, true, false),
            form(Pass::Forward, false, true),
        ]
        .into_iter()
        .filter(move |form| rows >= 10 || !form.ignored)
    }

    pub fn name(&self) -> String {
        let pass = match self.pass {
            Pass::Forward => "forward",
            Pass::Backward => "backward",
            Pass::Fused => "fused",
        };
        let what = match (self.smooth, self.ignored) {
            (true, _) => ", smooth",
            (false, true) => ", 90 % ignored",
            (false, false) => "",
        };
        format!("{pass}{what}")
    }

    pub fn loss(&self) -> EncouragingLoss {
        EncouragingLoss::builder()
            .label_smoothing(if self.smooth { 0.1 } else { 0.0 })
            .ignore_index(Some(IGNORED))
            .build()
            .expect("0 and 0.1 are in the range of label smoothing")
    }

    pub fn labels<'a, T>(&self, slot: &Slot<'a, T>) -> &'a [i64] {
        if self.ignored { slot.mostly_ignored } else { slot.labels }
    }

    /// What a caller of the library pays for one loss: the checks of the problem, the pass, the reduction.
    ///
    /// # Errors
    /// Those of the kernels.
    pub fn run<T: Dtype>(&self, slot: Slot<'_, T>, isa: Isa, threads: &impl Parallel) -> Result<Partial, LossError> {
        let loss = self.loss();
        let labels = self.labels(&slot);
        let problem = Problem::new(&loss, slot.shape, slot.logits, labels, None, None)?.with_isa(isa);
        let output = ForwardOutput { losses: None, margins: Some(slot.scratch_margins) };
        let partial = match self.pass {
            Pass::Forward => problem.forward(threads, output)?,
            Pass::Fused => problem.forward_backward(threads, output, slot.dlogits)?,
            Pass::Backward => {
                let upstream = Upstream { dloss: slot.dloss, margins: Some(slot.margins) };
                problem.backward(threads, &upstream, slot.dlogits)?;
                return Ok(Partial::default());
            }
        };
        std::hint::black_box(problem.reduce(partial));
        Ok(partial)
    }
}
