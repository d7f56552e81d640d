//! The gradient of a convolution by its weights and its bias.
//!
//! Three ways, chosen by what ONNX Runtime 1.32 took for the layers of LeNet, ResNet-18 and MobileNet on one thread (in
//! multiples of the forward pass):
//!
//! | | unfolded | by taps | transposed |
//! | --- | --- | --- | --- |
//! | 1×1 | 1.0 | | 3.9 … 11 |
//! | 3×3, 64 … 512 channels | 1.2 … 1.8 | | 1.5 … 2.5 |
//! | 5×5 and 7×7, few channels | 1.3 … 2.5 | | 1.1 … 2.1 |
//! | 3×3 depthwise | 3.7 … 4.1 | 2.8 … 5.4 | 3.5 … 9.0 |
//! | 5×5 depthwise | 1.4 … 4.3 | 0.9 … 1.8 | 0.8 … 2.4 |

use crate::rewrite::gradient::Builder;

use super::Geometry;

/// Most elements of a window that are cut out one by one for a matrix product.
const MAX_UNFOLDED: usize = 9;
/// Most elements of a window whose products are summed one by one (depthwise).
const MAX_TAPS: usize = 25;
/// Most elements of a tensor whose sizes are reckoned with; the sizes in a damaged file may be any numbers.
const MAX_ELEMENTS: i64 = 1 << 40;

/// db\[m\] = Σ over n, o of dy\[n, m, o\], for so many spatial axes.
pub(crate) fn bias_gradient(b: &mut Builder<'_>, dy: &str, rank: usize) -> String {
    let axes: Vec<i64> = std::iter::once(0).chain(2..2 + rank as i64).collect();
    b.reduce("ReduceSum", dy, &axes, false)
}

/// dw of y = Conv(x, w): dw\[m, c, k\] = Σ over n, o of dy\[n, m, o\]·x\[n, c, s·o + d·k − p\].
///
/// Only the shape of w is read, and only where sizes are unknown.
pub(crate) fn weight_gradient(b: &mut Builder<'_>, dy: &str, x: &str, w: &str, geometry: &Geometry) -> String {
    let dw = match Sizes::known(b, dy, x, w, geometry) {
        Some(sizes) if sizes.patches(geometry) => by_patches(b, dy, x, &sizes),
        Some(sizes) if sizes.is_depthwise() && sizes.taps() <= MAX_TAPS => by_taps(b, dy, x, &sizes, geometry),
        Some(sizes) if sizes.taps() <= MAX_UNFOLDED => unfolded(b, dy, x, &sizes, geometry),
        _ => transposed(b, dy, x, w, geometry),
    };
    b.declare_like(&dw, w);
    dw
}

/// All sizes but the batch, and none so large that a product of them overflows.
struct Sizes {
    /// Groups.
    groups: i64,
    /// Channels of x in a group.
    inputs: i64,
    /// Channels of y in a group.
    outputs: i64,
    plane: Vec<i64>,
    kernel: Vec<i64>,
    windows: Vec<i64>,
}

impl Sizes {
    fn known(b: &Builder<'_>, dy: &str, x: &str, w: &str, geometry: &Geometry) -> Option<Self> {
        let weights = b.sizes(w)?;
        let [outputs, inputs, kernel @ ..] = &weights[..] else { return None };
        let from = |value: &str| -> Option<Vec<i64>> { b.dims(value)?.get(2..)?.iter().map(|d| d.known()).collect() };
        let (plane, windows) = (from(x)?, from(dy)?);
        let all = [kernel, &plane[..], &windows[..]];
        let filter = [&[*outputs, *inputs, geometry.group], kernel].concat();
        let too_many = [&filter, &plane, &windows].iter().any(|sizes| elements(sizes).is_none());
        if too_many || all.iter().any(|sizes| sizes.len() != geometry.rank()) {
            return None;
        }
        let (outputs, kernel) = (outputs / geometry.group, kernel.to_vec());
        Some(Self { groups: geometry.group, inputs: *inputs, outputs, plane, kernel, windows })
    }

    /// Elements of a window.
    fn taps(&self) -> usize {
        elements(&self.kernel).and_then(|taps| usize::try_from(taps).ok()).unwrap_or(usize::MAX)
    }

    /// Every channel by itself.
    fn is_depthwise(&self) -> bool {
        self.groups > 1 && self.inputs == 1 && self.outputs == 1
    }

    /// Whether the windows tile the plane: nothing overlaps, nothing is left out.
    fn patches(&self, geometry: &Geometry) -> bool {
        let unpadded = geometry.before.iter().chain(&geometry.after).all(|&pad| pad == 0);
        unpadded
            && (0..self.kernel.len()).all(|axis| {
                let kernel = self.kernel[axis];
                geometry.strides[axis] == kernel
                    && (geometry.dilations[axis] == 1 || kernel == 1)
                    && self.windows[axis].checked_mul(kernel) == Some(self.plane[axis])
            })
    }

    fn positions(&self) -> i64 {
        self.windows.iter().product()
    }

    /// Groups as an axis of their own, where there are several.
    fn group_axis(&self) -> Vec<i64> {
        if self.groups == 1 { vec![] } else { vec![self.groups] }
    }
}

/// How many elements a tensor of these sizes has, where memory could hold them.
fn elements(sizes: &[i64]) -> Option<i64> {
    let count = sizes.iter().try_fold(1i64, |n, &size| n.checked_mul(size).filter(|_| size > 0))?;
    (count <= MAX_ELEMENTS).then_some(count)
}

/// The elements of every window at each place of the kernel: x cut, with the window's sizes, one value per place.
fn taps(b: &mut Builder<'_>, x: &str, sizes: &Sizes, geometry: &Geometry, first_axis: usize) -> Vec<String> {
    let rank = geometry.rank();
    let is_padded = geometry.before.iter().chain(&geometry.after).any(|&pad| pad != 0);
    let padded = if is_padded {
        let lead = vec![0; first_axis];
        let pads = b.ints(&[&lead[..], &geometry.before, &lead, &geometry.after].concat());
        b.op("Pad", &[x, &pads])
    } else {
        x.to_owned()
    };
    let axes: Vec<i64> = (first_axis as i64..(first_axis + rank) as i64).collect();
    let whole = (0..rank).all(|axis| {
        sizes.kernel[axis] == 1
            && geometry.strides[axis] == 1
            && sizes.plane[axis] + geometry.before[axis] + geometry.after[axis] == sizes.windows[axis]
    });
    if whole {
        return vec![padded];
    }
    let (axes, steps) = (b.ints(&axes), b.ints(&geometry.strides));
    let mut found = Vec::with_capacity(sizes.taps());
    let mut place = vec![0; rank];
    loop {
        let starts: Vec<i64> = (0..rank).map(|axis| place[axis] * geometry.dilations[axis]).collect();
        let ends: Vec<i64> =
            (0..rank).map(|axis| starts[axis] + (sizes.windows[axis] - 1) * geometry.strides[axis] + 1).collect();
        let (starts, ends) = (b.ints(&starts), b.ints(&ends));
        found.push(b.op("Slice", &[&padded, &starts, &ends, &axes, &steps]));
        // the next place, in row-major order
        let Some(axis) = (0..rank).rev().find(|&axis| place[axis] + 1 < sizes.kernel[axis]) else { return found };
        place[axis] += 1;
        place[axis + 1..].fill(0);
    }
}

/// dw\[m, c, k\] for depthwise convolutions: for each k, Σ over n, o of dy·(x cut at k).
fn by_taps(b: &mut Builder<'_>, dy: &str, x: &str, sizes: &Sizes, geometry: &Geometry) -> String {
    let rank = geometry.rank();
    let sums: Vec<String> = taps(b, x, sizes, geometry, 2)
        .iter()
        .map(|cut| {
            let product = b.op("Mul", &[cut, dy]);
            bias_gradient(b, &product, rank)
        })
        .collect();
    let channels = sizes.groups;
    let all: Vec<&str> = sums.iter().map(String::as_str).collect();
    let all = match &all[..] {
        [only] => (*only).to_owned(),
        all => {
            let joined = b.node("Concat", all, |node| node.int("axis", 0));
            let shape = b.ints(&[all.len() as i64, channels]);
            let rows = b.op("Reshape", &[&joined, &shape]);
            b.node("Transpose", &[&rows], |node| node.ints("perm", &[1, 0]))
        }
    };
    let shape = b.ints(&[&[channels, 1], &sizes.kernel[..]].concat());
    b.op("Reshape", &[&all, &shape])
}

/// Windows as columns of a matrix, for each sample and group; then dw = Σ over n of dy·columnsᵀ.
fn unfolded(b: &mut Builder<'_>, dy: &str, x: &str, sizes: &Sizes, geometry: &Geometry) -> String {
    let groups = sizes.group_axis();
    let x = if groups.is_empty() {
        x.to_owned()
    } else {
        let shape = b.ints(&[&[0, sizes.groups, sizes.inputs], &sizes.plane[..]].concat());
        b.op("Reshape", &[x, &shape])
    };
    let channel_axis = 1 + groups.len();
    let cuts = taps(b, &x, sizes, geometry, channel_axis + 1);
    let places = cuts.len() as i64;
    let columns = match &cuts[..] {
        [only] => only.clone(),
        cuts => {
            let cuts: Vec<&str> = cuts.iter().map(String::as_str).collect();
            b.node("Concat", &cuts, |node| node.int("axis", channel_axis as i64))
        }
    };
    let product = product_of_columns(b, dy, &columns, sizes);
    // [m, k, c] to [m, c, k]
    if places == 1 {
        let shape = b.ints(&[&[sizes.groups * sizes.outputs, sizes.inputs], &sizes.kernel[..]].concat());
        return b.op("Reshape", &[&product, &shape]);
    }
    let shape = b.ints(&[&[sizes.groups * sizes.outputs], &sizes.kernel[..], &[sizes.inputs]].concat());
    let by_place = b.op("Reshape", &[&product, &shape]);
    let rank = geometry.rank() as i64;
    let perm: Vec<i64> = [0, 1 + rank].into_iter().chain(1..=rank).collect();
    b.node("Transpose", &[&by_place], |node| node.ints("perm", &perm))
}

/// As [`unfolded`], where the windows tile the plane: then a transposition unfolds them.
fn by_patches(b: &mut Builder<'_>, dy: &str, x: &str, sizes: &Sizes) -> String {
    if sizes.taps() == 1 {
        let product = product_of_columns(b, dy, x, sizes);
        let shape = b.ints(&[&[sizes.groups * sizes.outputs, sizes.inputs], &sizes.kernel[..]].concat());
        return b.op("Reshape", &[&product, &shape]);
    }
    // [n, g·c, o·k, …] to [n, g·c, k…, o…]
    let channels = sizes.groups * sizes.inputs;
    let pairs = sizes.windows.iter().zip(&sizes.kernel).flat_map(|(&window, &kernel)| [window, kernel]);
    let shape: Vec<i64> = [0, channels].into_iter().chain(pairs).collect();
    let shape = b.ints(&shape);
    let apart = b.op("Reshape", &[x, &shape]);
    let rank = sizes.kernel.len() as i64;
    let perm: Vec<i64> = [0, 1]
        .into_iter()
        .chain((0..rank).map(|axis| 3 + 2 * axis))
        .chain((0..rank).map(|axis| 2 + 2 * axis))
        .collect();
    let columns = b.node("Transpose", &[&apart], |node| node.ints("perm", &perm));
    let product = product_of_columns(b, dy, &columns, sizes);
    let shape = b.ints(&[&[sizes.groups * sizes.outputs, sizes.inputs], &sizes.kernel[..]].concat());
    b.op("Reshape", &[&product, &shape])
}

/// Σ over n of dy \[n, g, m, o\]·columnsᵀ \[n, g, o, …\]: \[g, m, …\]; columns come in any shape of these elements.
fn product_of_columns(b: &mut Builder<'_>, dy: &str, columns: &str, sizes: &Sizes) -> String {
    let (groups, positions) = (sizes.group_axis(), sizes.positions());
    let height = sizes.inputs * sizes.taps() as i64;
    let shape = b.ints(&[&[0], &groups[..], &[height, positions]].concat());
    let columns = b.op("Reshape", &[columns, &shape]);
    let shape = b.ints(&[&[0], &groups[..], &[sizes.outputs, positions]].concat());
    let dy = b.op("Reshape", &[dy, &shape]);
    let perm: &[i64] = if groups.is_empty() { &[0, 2, 1] } else { &[0, 1, 3, 2] };
    let rows = b.node("Transpose", &[&columns], |node| node.ints("perm", perm));
    let products = b.op("MatMul", &[&dy, &rows]);
    b.reduce("ReduceSum", &products, &[0], false)
}

/// A convolution again: x with batch and channels exchanged by dy likewise, strides and dilations exchanged, cut to the
/// size of the kernel. Whatever the sizes.
fn transposed(b: &mut Builder<'_>, dy: &str, x: &str, w: &str, geometry: &Geometry) -> String {
    let rank = geometry.rank() as i64;
    let spatial = |from: i64| from..from + rank;
    let swapped: Vec<i64> = [1, 0].into_iter().chain(spatial(2)).collect();
    let data = if geometry.group == 1 {
        b.node("Transpose", &[x], |node| node.ints("perm", &swapped))
    } else {
        // [n, g·c, …] to [c, g·n, …]
        let shape = b.shape_with_tail(&[0, geometry.group, -1], x, 2);
        let grouped = b.op("Reshape", &[x, &shape]);
        let perm: Vec<i64> = [2, 1, 0].into_iter().chain(spatial(3)).collect();
        let turned = b.node("Transpose", &[&grouped], |node| node.ints("perm", &perm));
        // the number of channels in a group is the second size of the weights
        let per_group = b.dims(w).and_then(|dims| dims.get(1)?.known());
        let shape = match per_group {
            Some(per_group) => b.shape_with_tail(&[per_group, -1], x, 2),
            None => {
                let merged = b.shape_with_tail(&[-1], x, 2);
                let shape = b.op("Shape", &[w]);
                let (one, two) = (b.ints(&[1]), b.ints(&[2]));
                let per_group = b.op("Slice", &[&shape, &one, &two]);
                b.node("Concat", &[&per_group, &merged], |node| node.int("axis", 0))
            }
        };
        b.op("Reshape", &[&turned, &shape])
    };
    let kernel = b.node("Transpose", &[dy], |node| node.ints("perm", &swapped));
    let exchanged =
        Geometry { strides: geometry.dilations.clone(), dilations: geometry.strides.clone(), ..geometry.clone() };
    let whole = b.node("Conv", &[&data, &kernel], |node| exchanged.attributes(node));
    let axes: Vec<i64> = spatial(2).collect();
    let cut = b.cut_to(&whole, w, &axes);
    b.node("Transpose", &[&cut], |node| node.ints("perm", &swapped))
}
