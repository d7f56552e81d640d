use proptest::prelude::*;

use crate::model::NodeBuilder;
use crate::model::node;
use crate::rewrite::gradient::testing::{Case, Known, numbers, tensor};

/// A convolution or transposed convolution with its sizes.
#[derive(Clone, Debug)]
struct Form {
    op: &'static str,
    batch: usize,
    /// Channels of x per group.
    inputs: usize,
    /// Channels of y per group.
    outputs: usize,
    group: usize,
    plane: Vec<usize>,
    kernel: Vec<usize>,
    strides: Vec<i64>,
    dilations: Vec<i64>,
    pads: Vec<i64>,
    auto_pad: &'static str,
    bias: bool,
}

impl Form {
    /// 1 sample, 1 channel each way, no padding, a stride of 1.
    fn new(op: &'static str, plane: &[usize], kernel: &[usize]) -> Self {
        let rank = plane.len();
        Form {
            op,
            batch: 1,
            inputs: 1,
            outputs: 1,
            group: 1,
            plane: plane.to_vec(),
            kernel: kernel.to_vec(),
            strides: vec![1; rank],
            dilations: vec![1; rank],
            pads: vec![0; 2 * rank],
            auto_pad: "NOTSET",
            bias: false,
        }
    }

    fn conv(plane: &[usize], kernel: &[usize]) -> Self {
        Self::new("Conv", plane, kernel)
    }

    fn transposed(plane: &[usize], kernel: &[usize]) -> Self {
        Self::new("ConvTranspose", plane, kernel)
    }

    fn batch(self, batch: usize) -> Self {
        Form { batch, ..self }
    }

    fn channels(self, inputs: usize, outputs: usize) -> Self {
        Form { inputs, outputs, ..self }
    }

    fn group(self, group: usize) -> Self {
        Form { group, ..self }
    }

    fn strides(self, strides: &[i64]) -> Self {
        Form { strides: strides.to_vec(), ..self }
    }

    fn dilations(self, dilations: &[i64]) -> Self {
        Form { dilations: dilations.to_vec(), ..self }
    }

    fn pads(self, pads: &[i64]) -> Self {
        Form { pads: pads.to_vec(), ..self }
    }

    fn auto_pad(self, auto_pad: &'static str) -> Self {
        Form { auto_pad, ..self }
    }

    fn bias(self) -> Self {
        Form { bias: true, ..self }
    }

    fn case_with(&self, more: impl FnOnce(NodeBuilder) -> NodeBuilder) -> Case {
        let outputs = self.outputs * self.group;
        let x = [&[self.batch, self.inputs * self.group], &self.plane[..]].concat();
        let channels =
            if self.op == "Conv" { [outputs, self.inputs] } else { [self.inputs * self.group, self.outputs] };
        let w = [&channels, &self.kernel[..]].concat();
        let random = |dims: &[usize], seed| tensor(dims, numbers(dims.iter().product(), seed));
        let mut inputs = vec![("x", random(&x, 1)), ("w", random(&w, 2))];
        if self.bias {
            inputs.push(("b", random(&[outputs], 3)));
        }
        let built = node(self.op).inputs(inputs.iter().map(|(name, _)| *name)).outputs(["y"]);
        let built =
            built.ints("strides", &self.strides).ints("dilations", &self.dilations).int("group", self.group as i64);
        let built = match self.auto_pad {
            "NOTSET" => built.ints("pads", &self.pads),
            auto_pad => built.string("auto_pad", auto_pad),
        };
        Case::new(inputs, vec![more(built).build()]).weights(&["w", "b"])
    }

    fn case(&self) -> Case {
        self.case_with(|node| node)
    }

    /// With automatic padding that depends on sizes, only where these are known.
    fn check(&self) {
        let depends = self.auto_pad.starts_with("SAME");
        for known in [Known::All, Known::AllButBatch, Known::Rank] {
            if !(depends && known == Known::Rank) {
                self.case().check_knowing(known);
            }
        }
    }
}

#[test]
fn convolutions_of_every_form() {
    // 3 windows of 2, nothing left over
    Form::conv(&[4], &[2]).batch(2).channels(2, 3).bias().check();
    // 1×1: a matrix product
    Form::conv(&[2, 2], &[1, 1]).batch(2).channels(3, 2).check();
    // 1×1 with a stride: elements between the windows have gradient 0
    Form::conv(&[3, 4], &[1, 1]).strides(&[2, 2]).channels(2, 2).check();
    // stride 2 over 4 elements with windows of 3: the last element is read by none
    Form::conv(&[4, 5], &[3, 3]).strides(&[2, 1]).pads(&[0, 1, 0, 1]).channels(2, 1).check();
    // uneven pads, larger behind than what is left over
    Form::conv(&[4, 3], &[2, 3]).strides(&[3, 2]).pads(&[1, 0, 2, 2]).batch(2).check();
    // dilated
    Form::conv(&[6, 4], &[2, 2]).dilations(&[3, 2]).pads(&[1, 1, 0, 1]).channels(1, 2).check();
    // three axes, all different
    Form::conv(&[3, 2, 4], &[2, 1, 3]).strides(&[1, 1, 2]).pads(&[0, 0, 1, 1, 0, 1]).channels(1, 2).check();
    // ten elements in a window: too many to unfold
    Form::conv(&[3, 6], &[2, 5]).pads(&[0, 1, 0, 1]).channels(2, 2).check();
    // windows side by side, as in the first layer of a vision transformer; once not quite
    Form::conv(&[4, 6], &[2, 3]).strides(&[2, 3]).batch(2).channels(2, 2).check();
    Form::conv(&[5, 6], &[2, 3]).strides(&[2, 3]).batch(2).channels(1, 2).check();
}

#[test]
fn groups() {
    Form::conv(&[3, 3], &[2, 2]).group(2).channels(2, 1).batch(2).check();
    Form::conv(&[3, 3], &[2, 2]).group(2).channels(1, 2).batch(2).bias().check();
    Form::conv(&[2, 6], &[2, 5]).group(2).channels(2, 2).pads(&[1, 0, 0, 1]).check();
    Form::conv(&[2, 2], &[1, 1]).group(2).channels(2, 2).batch(2).check();
    Form::conv(&[4, 4], &[2, 2]).group(2).channels(2, 1).strides(&[2, 2]).check();
    // depthwise; with a multiplier; 1×1; windows larger than what is cut out one by one
    Form::conv(&[4, 3], &[3, 2]).group(3).strides(&[2, 1]).pads(&[1, 1, 1, 0]).batch(2).check();
    Form::conv(&[3, 3], &[2, 2]).group(2).channels(1, 2).strides(&[2, 1]).check();
    Form::conv(&[2, 3], &[1, 1]).group(3).batch(2).check();
    Form::conv(&[5, 7], &[4, 7]).group(2).pads(&[0, 1, 1, 0]).check();
}

#[test]
fn automatic_padding() {
    for auto_pad in ["SAME_UPPER", "SAME_LOWER", "VALID"] {
        // 5 elements by 2: three windows, one element of padding in all; 4 by 3: an odd total
        Form::conv(&[5, 4], &[2, 3]).strides(&[2, 3]).auto_pad(auto_pad).check();
        Form::conv(&[4, 5], &[2, 3]).dilations(&[1, 2]).strides(&[2, 1]).auto_pad(auto_pad).check();
        // no padding at all: the windows leave elements out
        Form::conv(&[6], &[1]).strides(&[2]).auto_pad(auto_pad).check();
        Form::transposed(&[3, 2], &[3, 4]).strides(&[2, 1]).auto_pad(auto_pad).channels(2, 1).check();
    }
    // a stride of 1 needs no sizes but the kernel's
    let same = Form::conv(&[4], &[2]).auto_pad("SAME_UPPER").case_with(|node| node.ints("kernel_shape", &[2]));
    same.check();
}

#[test]
fn automatic_padding_of_unknown_sizes_is_refused() {
    let case = Form::conv(&[5], &[2]).strides(&[2]).auto_pad("SAME_LOWER").case();
    let error = case.refused(Known::Rank);
    assert!(error.contains("size 2 of 'w', which is not known") || error.contains("size 2 of 'x'"), "{error}");
}

#[test]
fn transposed_convolutions() {
    Form::transposed(&[3], &[2]).batch(2).channels(2, 3).bias().check();
    Form::transposed(&[2, 3], &[3, 2]).strides(&[2, 1]).pads(&[1, 0, 0, 1]).channels(2, 1).check();
    Form::transposed(&[2, 2], &[2, 3]).dilations(&[2, 1]).strides(&[1, 3]).channels(1, 2).check();
    Form::transposed(&[2, 2, 2], &[2, 1, 2]).strides(&[2, 1, 2]).pads(&[1, 0, 0, 0, 0, 1]).check();
    Form::transposed(&[2, 3], &[2, 2]).group(2).channels(2, 1).batch(2).bias().check();
    Form::transposed(&[3, 2], &[2, 2]).group(3).strides(&[2, 2]).check();
    // windows side by side: upsampling
    Form::transposed(&[2, 2], &[2, 2]).strides(&[2, 2]).channels(2, 2).check();
}

#[test]
fn transposed_convolutions_of_a_wanted_size() {
    let form = Form::transposed(&[3, 2], &[3, 3]).strides(&[2, 3]).channels(2, 1);
    form.case_with(|node| node.ints("output_padding", &[1, 2])).check();
    // room for a window more than x has elements
    let dilated = Form::transposed(&[3], &[2]).dilations(&[3]).strides(&[2]);
    dilated.case_with(|node| node.ints("output_padding", &[2])).check();
    // 2·2 + 3 = 7 and 3·1 + 3 = 6 elements, of which 6 and 3 are wanted
    let wanted = Form { pads: vec![], ..form.clone() };
    let wanted = wanted.case_with(|node| node.ints("output_shape", &[6, 3]));
    wanted.check_knowing(Known::All);
    wanted.check_knowing(Known::AllButBatch);
    assert!(wanted.refused(Known::Rank).contains("is not known"));
    let larger = Form::transposed(&[2], &[1]).strides(&[3]).case_with(|node| node.ints("output_shape", &[6]));
    assert!(larger.refused(Known::All).contains("larger than its windows reach"));
}

/// Small convolutions of all kinds.
fn any_form() -> impl Strategy<Value = Form> {
    let axis = (1..4usize, 1..4i64, 1..3i64, 0..3i64, 0..3i64, 0..3usize);
    let channels = (1..3usize, 1..3usize, 1..3usize, 1..3usize);
    (prop::collection::vec(axis, 1..3), channels, any::<bool>(), any::<bool>()).prop_map(
        |(axes, (batch, inputs, outputs, group), transposed, bias)| {
            let kernel: Vec<usize> = axes.iter().map(|axis| axis.0).collect();
            let strides: Vec<i64> = axes.iter().map(|axis| axis.1).collect();
            let dilations: Vec<i64> = axes.iter().map(|axis| axis.2).collect();
            // a transposed convolution must have something left without its pads
            let least = |axis: &(usize, i64, i64, i64, i64, usize)| {
                let (kernel, _, dilation, before, after, more) = *axis;
                let extent = (kernel as i64 - 1) * dilation + 1;
                let room = if transposed { before + after + 2 - extent } else { extent - before - after };
                room.max(1) as usize + more
            };
            let plane: Vec<usize> = axes.iter().map(least).collect();
            let pads = axes.iter().map(|axis| axis.3).chain(axes.iter().map(|axis| axis.4)).collect();
            let op = if transposed { "ConvTranspose" } else { "Conv" };
            let form = Form::new(op, &plane, &kernel).batch(batch).channels(inputs, outputs).group(group);
            Form { pads, strides, dilations, bias, ..form }
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_convolution(form in any_form(), known in prop::sample::select(vec![Known::All, Known::AllButBatch, Known::Rank])) {
        form.case().check_knowing(known);
    }
}
