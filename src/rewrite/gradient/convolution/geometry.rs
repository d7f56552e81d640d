//! How the windows of a convolution lie.

use crate::model::NodeBuilder;
use crate::rewrite::gradient::Builder;
use crate::rewrite::gradient::backward::{Backward, Refusal, refusal};

/// Strides, dilations, pads and groups of a convolution, one number per spatial axis; automatic padding is resolved.
/// For a transposed convolution: those of the convolution that it is the transpose of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Geometry {
    /// From window to window.
    pub strides: Vec<i64>,
    /// From element to element of a window.
    pub dilations: Vec<i64>,
    /// Padding in front.
    pub before: Vec<i64>,
    /// Padding behind.
    pub after: Vec<i64>,
    /// Groups of channels that do not see each other.
    pub group: i64,
}

impl Geometry {
    /// Number of spatial axes.
    pub fn rank(&self) -> usize {
        self.strides.len()
    }

    /// Of a `Conv`.
    ///
    /// # Errors
    /// Attributes that do not fit each other; automatic padding that depends on sizes that are not known.
    pub(in crate::rewrite::gradient) fn of_conv(c: &Backward<'_, '_>) -> Result<Self, Refusal> {
        Self::of_windows(c, |_, total| Ok(total.max(0)))
    }

    /// Of a pool; its channels are not mixed.
    ///
    /// # Errors
    /// As [`Self::of_conv`]; automatic padding where windows leave elements out.
    pub(in crate::rewrite::gradient) fn of_pool(c: &Backward<'_, '_>) -> Result<Self, Refusal> {
        Self::of_windows(c, |axis, total| {
            let left_out =
                || refusal(format!("its auto_pad leaves elements of axis {axis} out, which runtimes do differently"));
            (total >= 0).then_some(total).ok_or_else(left_out)
        })
    }

    fn of_windows(
        c: &Backward<'_, '_>,
        total_padding: impl Fn(usize, i64) -> Result<i64, Refusal>,
    ) -> Result<Self, Refusal> {
        let (x, w) = (c.x(0), c.x(1));
        let mut geometry = Self::unpadded(c, &x)?;
        let auto = c.string("auto_pad", "NOTSET");
        match auto.as_str() {
            "NOTSET" => geometry.take_pads(c)?,
            "VALID" => {}
            "SAME_UPPER" | "SAME_LOWER" => {
                for axis in 0..geometry.rank() {
                    let extent = geometry.extent(c, &w, axis)?;
                    let stride = geometry.strides[axis];
                    // with a stride of 1 the same padding does for all sizes
                    let size = if stride == 1 { 1 } else { size(c.b, &x, 2 + axis)? };
                    let windows = (size - 1) / stride + 1;
                    let total = total_padding(2 + axis, (windows - 1) * stride + extent - size)?;
                    geometry.pad(axis, total, auto == "SAME_UPPER");
                }
            }
            other => return Err(refusal(format!("its auto_pad {other} does not exist"))),
        }
        Ok(geometry)
    }

    /// Of the convolution that a `ConvTranspose` is the transpose of: from its output to its input.
    ///
    /// # Errors
    /// As [`Self::of_conv`]; an output that is larger than the windows reach.
    pub(in crate::rewrite::gradient) fn of_conv_transpose(c: &Backward<'_, '_>) -> Result<Self, Refusal> {
        let (x, w) = (c.x(0), c.x(1));
        let mut geometry = Self::unpadded(c, &x)?;
        let auto = c.string("auto_pad", "NOTSET");
        let extra = geometry.list(c, "output_padding", 0, 0)?;
        let wanted = match c.node.attr_ints("output_shape") {
            // some exporters write all axes
            Some(shape) if shape.len() == geometry.rank() + 2 => {
                check("output_shape", shape, geometry.rank() + 2, 0)?;
                shape.get(2..).map(<[i64]>::to_vec)
            }
            Some(_) => Some(geometry.list(c, "output_shape", 0, 0)?),
            None => None,
        };
        if wanted.is_none() && auto == "NOTSET" {
            geometry.take_pads(c)?;
            return Ok(geometry);
        }
        if wanted.is_none() && auto == "VALID" {
            return Ok(geometry);
        }
        for axis in 0..geometry.rank() {
            let (stride, extent) = (geometry.strides[axis], geometry.extent(c, &w, axis)?);
            let total = match &wanted {
                Some(wanted) => (size(c.b, &x, 2 + axis)? - 1) * stride + extra[axis] + extent - wanted[axis],
                // SAME: the output is the input times the stride
                None => extent + extra[axis] - stride,
            };
            if total < 0 {
                return Err(refusal("its output is larger than its windows reach, which runtimes do differently"));
            }
            geometry.pad(axis, total, auto == "SAME_UPPER");
        }
        Ok(geometry)
    }

    fn unpadded(c: &Backward<'_, '_>, x: &str) -> Result<Self, Refusal> {
        let rank = c.rank(x)?.checked_sub(2).filter(|&rank| rank > 0);
        let rank = rank.ok_or_else(|| refusal(format!("'{x}' has no spatial axes")))?;
        let group = c.int("group", 1);
        if group < 1 {
            return Err(refusal(format!("its group is {group}")));
        }
        let mut geometry = Self {
            strides: vec![1; rank],
            dilations: vec![1; rank],
            before: vec![0; rank],
            after: vec![0; rank],
            group,
        };
        geometry.strides = geometry.list(c, "strides", 1, 1)?;
        geometry.dilations = geometry.list(c, "dilations", 1, 1)?;
        Ok(geometry)
    }

    /// An attribute with one number per spatial axis.
    fn list(&self, c: &Backward<'_, '_>, name: &str, default: i64, least: i64) -> Result<Vec<i64>, Refusal> {
        let values = c.node.attr_ints(name).map_or_else(|| vec![default; self.rank()], <[i64]>::to_vec);
        check(name, &values, self.rank(), least)?;
        Ok(values)
    }

    fn take_pads(&mut self, c: &Backward<'_, '_>) -> Result<(), Refusal> {
        if let Some(pads) = c.node.attr_ints("pads") {
            check("pads", pads, 2 * self.rank(), 0)?;
            let (before, after) = pads.split_at(self.rank());
            (self.before, self.after) = (before.to_vec(), after.to_vec());
        }
        Ok(())
    }

    /// The sizes of a pool's windows.
    ///
    /// # Errors
    /// There are none, or they do not fit the axes.
    pub(in crate::rewrite::gradient) fn kernel_of_pool(&self, c: &Backward<'_, '_>) -> Result<Vec<i64>, Refusal> {
        let kernel = c.node.attr_ints("kernel_shape").unwrap_or_default();
        check("kernel_shape", kernel, self.rank(), 1)?;
        Ok(kernel.to_vec())
    }

    /// From the first to the last element of a window.
    fn extent(&self, c: &Backward<'_, '_>, w: &str, axis: usize) -> Result<i64, Refusal> {
        let given = c.node.attr_ints("kernel_shape").and_then(|kernel| kernel.get(axis).copied());
        let kernel = match given {
            Some(kernel) => kernel,
            None => size(c.b, w, 2 + axis)?,
        };
        check("kernel_shape", &[kernel], 1, 1)?;
        Ok(self.dilations[axis] * (kernel - 1) + 1)
    }

    /// Shares out padding; the odd one goes behind or in front.
    fn pad(&mut self, axis: usize, total: i64, more_behind: bool) {
        let half = total / 2;
        (self.before[axis], self.after[axis]) = if more_behind { (half, total - half) } else { (total - half, half) };
    }

    /// Onto a node.
    pub fn attributes(&self, node: NodeBuilder) -> NodeBuilder {
        node.ints("strides", &self.strides)
            .ints("dilations", &self.dilations)
            .ints("pads", &[&self.before[..], &self.after[..]].concat())
            .int("group", self.group)
    }
}

/// Largest number that a geometry may hold: products of two do not overflow.
const LARGEST: i64 = i32::MAX as i64;

fn check(name: &str, values: &[i64], count: usize, least: i64) -> Result<(), Refusal> {
    if values.len() == count && values.iter().all(|value| (least..=LARGEST).contains(value)) {
        return Ok(());
    }
    Err(refusal(format!("its {name} {values:?} do not fit its axes")))
}

/// A size that must be known.
fn size(b: &Builder<'_>, value: &str, axis: usize) -> Result<i64, Refusal> {
    let known = b.dims(value).and_then(|dims| dims.get(axis)?.known()).filter(|size| (1..=LARGEST).contains(size));
    known.ok_or_else(|| {
        refusal(format!("its padding depends on size {axis} of '{value}', which is not known; give it a fixed size"))
    })
}
