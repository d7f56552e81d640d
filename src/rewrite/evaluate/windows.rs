//! Windows that slide over spatial axes: the geometry that convolutions and pools share.

use super::tensor::{MAX_ELEMENTS, dims_of, element_count, strides};
use super::{Call, Fault};

/// Most multiplications (or comparisons) of one node.
const MAX_WORK: usize = 4 * MAX_ELEMENTS;

/// Where an element of a window lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// In the plane, at this position in row-major order.
    Inside(usize),
    /// In the padding.
    Padding,
    /// Beyond the padding: in a window that is there because sizes were rounded up.
    Beyond,
}

/// Windows over a plane of any rank.
#[derive(Clone, Debug)]
pub(super) struct Windows {
    /// Sizes of the plane.
    pub plane: Vec<usize>,
    /// Elements of a window along each axis.
    pub kernel: Vec<usize>,
    /// Windows along each axis.
    pub count: Vec<usize>,
    /// From window to window.
    pub strides: Vec<usize>,
    /// From element to element of a window.
    pub dilations: Vec<usize>,
    /// Padding in front.
    pub before: Vec<usize>,
    /// Padding behind.
    pub after: Vec<usize>,
}

impl Windows {
    /// As `kernel_shape`, `strides`, `dilations`, `pads`, `auto_pad` and `ceil_mode` of a node say.
    pub(super) fn of(call: &Call, plane: &[usize], kernel: &[usize]) -> Result<Self, Fault> {
        let mut windows = Self::unpadded(call, plane, kernel)?;
        let rank = plane.len();
        match call.string("auto_pad", "NOTSET") {
            "NOTSET" => (windows.before, windows.after) = pads(call, rank)?,
            "VALID" => {}
            "SAME_UPPER" => windows.pad_to_same(call.node.op(), true)?,
            "SAME_LOWER" => windows.pad_to_same(call.node.op(), false)?,
            other => return Err(Fault::invalid(format!("auto_pad {other} does not exist"))),
        }
        let ceil = call.int("ceil_mode", 0) != 0;
        for (axis, &size) in plane.iter().enumerate() {
            let (padded, extent) = (size + windows.before[axis] + windows.after[axis], windows.extent(axis));
            let stride = windows.strides[axis];
            let rounded_up = if ceil { stride - 1 } else { 0 };
            let Some(room) = (padded + rounded_up).checked_sub(extent) else {
                return Err(Fault::invalid(format!("a window of {extent} does not fit into {padded} elements")));
            };
            let mut count = room / stride + 1;
            // a window that would start in the padding behind is none
            if ceil && (count - 1) * stride >= size + windows.before[axis] {
                count -= 1;
            }
            windows.count[axis] = count;
        }
        element_count(&windows.count)?;
        Ok(windows)
    }

    /// Without padding; nothing is counted yet.
    pub(super) fn unpadded(call: &Call, plane: &[usize], kernel: &[usize]) -> Result<Self, Fault> {
        let rank = plane.len();
        if kernel.len() != rank || kernel.contains(&0) {
            return Err(Fault::invalid(format!("a kernel of {kernel:?} does not fit a plane of {plane:?}")));
        }
        element_count(kernel)?;
        let windows = Self {
            plane: plane.to_vec(),
            kernel: kernel.to_vec(),
            count: vec![0; rank],
            strides: positive(call, "strides", rank)?,
            dilations: positive(call, "dilations", rank)?,
            before: vec![0; rank],
            after: vec![0; rank],
        };
        Ok(windows)
    }

    /// From the first to the last element of a window along an axis.
    pub(super) fn extent(&self, axis: usize) -> usize {
        self.dilations[axis] * (self.kernel[axis] - 1) + 1
    }

    /// Padding for ⌈size / stride⌉ windows; an odd one is behind or in front.
    fn pad_to_same(&mut self, op: &str, more_behind: bool) -> Result<(), Fault> {
        for axis in 0..self.plane.len() {
            let count = self.plane[axis].div_ceil(self.strides[axis]);
            let covered = count.saturating_sub(1) * self.strides[axis] + self.extent(axis);
            // runtimes centre pools then, but not convolutions
            if covered < self.plane[axis] && op != "Conv" {
                return Err(Fault::Unsupported(format!("{op} with auto_pad SAME and windows that leave elements out")));
            }
            let needed = covered.saturating_sub(self.plane[axis]);
            let half = needed / 2;
            (self.before[axis], self.after[axis]) =
                if more_behind { (half, needed - half) } else { (needed - half, half) };
        }
        Ok(())
    }

    /// Refuses what would take too long: `times` for each element of each window.
    pub(super) fn check_work(&self, times: &[usize]) -> Result<(), Fault> {
        let factors = self.count.iter().chain(&self.kernel).chain(times);
        let work = factors.clone().try_fold(1_usize, |n, &factor| n.checked_mul(factor.max(1)));
        match work {
            Some(work) if work <= MAX_WORK => Ok(()),
            _ => Err(Fault::TooLarge(factors.copied().collect())),
        }
    }

    /// How many windows there are.
    pub(super) fn len(&self) -> usize {
        self.count.iter().product()
    }

    /// Elements of the plane.
    pub(super) fn plane_len(&self) -> usize {
        self.plane.iter().product()
    }

    /// Elements of a window.
    pub(super) fn kernel_len(&self) -> usize {
        self.kernel.iter().product()
    }

    /// The elements of window number `window`, in row-major order of the kernel.
    pub(super) fn elements(&self, window: usize) -> Vec<Place> {
        let origin = coordinates(window, &self.count);
        let steps = strides(&self.plane);
        let mut element = vec![0; self.kernel.len()];
        let mut places = Vec::with_capacity(self.kernel_len());
        for _ in 0..self.kernel_len() {
            places.push(self.place(&origin, &element, &steps));
            // the next, in row-major order
            for (at, &size) in element.iter_mut().zip(&self.kernel).rev() {
                *at += 1;
                if *at < size {
                    break;
                }
                *at = 0;
            }
        }
        places
    }

    /// Where an element of the window at `origin` lies.
    fn place(&self, origin: &[usize], element: &[usize], steps: &[i64]) -> Place {
        let mut at = 0;
        let mut padding = false;
        for (axis, &k) in element.iter().enumerate() {
            let padded = origin[axis] * self.strides[axis] + k * self.dilations[axis];
            let inner = padded.wrapping_sub(self.before[axis]);
            if padded >= self.before[axis] + self.plane[axis] + self.after[axis] {
                return Place::Beyond;
            }
            padding |= padded < self.before[axis] || inner >= self.plane[axis];
            at += inner.wrapping_mul(steps[axis] as usize) * usize::from(!padding);
        }
        if padding { Place::Padding } else { Place::Inside(at) }
    }
}

/// Coordinates of a position in row-major order.
pub(super) fn coordinates(mut flat: usize, dims: &[usize]) -> Vec<usize> {
    let mut found = vec![0; dims.len()];
    for (coordinate, &size) in found.iter_mut().zip(dims).rev() {
        let size = size.max(1);
        *coordinate = flat % size;
        flat /= size;
    }
    found
}

/// A list of numbers from 1 that defaults to ones.
fn positive(call: &Call, name: &str, rank: usize) -> Result<Vec<usize>, Fault> {
    let values = match call.node.attr_ints(name) {
        Some(values) => dims_of(values)?,
        None => vec![1; rank],
    };
    if values.len() != rank || values.iter().any(|&value| value == 0 || value > MAX_ELEMENTS) {
        return Err(Fault::invalid(format!("{name} {values:?} do not fit {rank} spatial axes")));
    }
    Ok(values)
}

/// `pads`: those in front of every axis, then those behind.
pub(super) fn pads(call: &Call, rank: usize) -> Result<(Vec<usize>, Vec<usize>), Fault> {
    let Some(pads) = call.node.attr_ints("pads") else { return Ok((vec![0; rank], vec![0; rank])) };
    let pads = dims_of(pads)?;
    if pads.len() != 2 * rank || pads.iter().any(|&pad| pad > MAX_ELEMENTS) {
        return Err(Fault::invalid(format!("pads {pads:?} do not fit {rank} spatial axes")));
    }
    let (before, after) = pads.split_at(rank);
    Ok((before.to_vec(), after.to_vec()))
}
