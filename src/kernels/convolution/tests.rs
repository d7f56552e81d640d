use proptest::prelude::*;

use super::*;
use crate::kernels::testing::{close, numbers, on_every_isa};
use crate::loss::Sequential;

/// Every product of a convolution: indices into x, w and y.
fn products(convolution: &Convolution, sizes: &Sizes, mut visit: impl FnMut(usize, usize, usize)) {
    let ([n, c, height, width], [k, per_group, kernel_height, kernel_width]) = (sizes.x, sizes.w);
    let [_, _, rows, columns] = sizes.y;
    let Window { strides, pads, dilations } = convolution.window;
    for (image, out) in (0..n).flat_map(|image| (0..k).map(move |out| (image, out))) {
        for (row, column) in (0..rows).flat_map(|row| (0..columns).map(move |column| (row, column))) {
            for source in 0..per_group {
                for (i, j) in (0..kernel_height).flat_map(|i| (0..kernel_width).map(move |j| (i, j))) {
                    let down = (row * strides[0] + i * dilations[0]).checked_sub(pads[0]).filter(|&at| at < height);
                    let across = (column * strides[1] + j * dilations[1]).checked_sub(pads[1]).filter(|&at| at < width);
                    let (Some(down), Some(across)) = (down, across) else { continue };
                    let channel = out / (k / convolution.group) * per_group + source;
                    visit(
                        ((image * c + channel) * height + down) * width + across,
                        ((out * per_group + source) * kernel_height + i) * kernel_width + j,
                        ((image * k + out) * rows + row) * columns + column,
                    );
                }
            }
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Case {
    x: [usize; 4],
    /// K, kernel height and width
    w: [usize; 3],
    strides: [i64; 2],
    pads: [i64; 4],
    dilations: [i64; 2],
    group: usize,
}

impl Case {
    fn of(x: [usize; 4], w: [usize; 3]) -> Case {
        Case { x, w, strides: [1, 1], pads: [0; 4], dilations: [1, 1], group: 1 }
    }

    #[track_caller]
    fn check(self) {
        let window = Window::new(self.strides, self.pads, self.dilations).unwrap();
        let convolution = Convolution::new(window, self.group as i64).unwrap();
        let [k, height, width] = self.w;
        let sizes = convolution.sizes(self.x, [k, self.x[1] / self.group, height, width]).unwrap();
        let len = |sizes: [usize; 4]| sizes.iter().product::<usize>();
        let (x, w, b) = (numbers(len(sizes.x), 1), numbers(len(sizes.w), 2), numbers(k, 3));
        let dy = numbers(len(sizes.y), 4);
        let plane: usize = sizes.y[2] * sizes.y[3];
        let mut expected = (vec![0.0; len(sizes.y)], vec![0.0; len(sizes.x)], vec![0.0; len(sizes.w)], vec![0.0; k]);
        for (at, y) in expected.0.iter_mut().enumerate() {
            *y = f64::from(b[at / plane % k]);
            expected.3[at / plane % k] += f64::from(dy[at]);
        }
        products(&convolution, &sizes, |at_x, at_w, at_y| {
            expected.0[at_y] += f64::from(x[at_x]) * f64::from(w[at_w]);
            expected.1[at_x] += f64::from(dy[at_y]) * f64::from(w[at_w]);
            expected.2[at_w] += f64::from(dy[at_y]) * f64::from(x[at_x]);
        });
        on_every_isa(|| {
            // whatever was there before must not matter
            let mut y = vec![f32::NAN; len(sizes.y)];
            let mut dx = vec![f32::NAN; len(sizes.x)];
            let (mut dw, mut db) = (vec![f32::NAN; len(sizes.w)], vec![f32::NAN; k]);
            convolution.forward(&Sequential, &sizes, &x, &w, Some(&b), &mut y).unwrap();
            convolution.input_gradient(&Sequential, &sizes, &dy, &w, &mut dx).unwrap();
            convolution.weight_gradient(&Sequential, &sizes, &dy, &x, &mut dw, &mut db).unwrap();
            close(&y, &expected.0, 1e-4, &format!("y of {self:?}"));
            close(&dx, &expected.1, 1e-4, &format!("dx of {self:?}"));
            close(&dw, &expected.2, 1e-4, &format!("dw of {self:?}"));
            close(&db, &expected.3, 1e-4, &format!("db of {self:?}"));
            y.fill(f32::NAN);
            convolution.forward(&Sequential, &sizes, &x, &w, None, &mut y).unwrap();
            let unbiased: Vec<f64> =
                expected.0.iter().enumerate().map(|(at, y)| y - f64::from(b[at / plane % k])).collect();
            close(&y, &unbiased, 1e-4, &format!("y without b of {self:?}"));
        });
    }
}

#[test]
fn sizes_with_a_reason() {
    // one of everything
    Case::of([1, 1, 1, 1], [1, 1, 1]).check();
    // the second layer of the CNN that is timed
    Case { pads: [1; 4], ..Case::of([2, 16, 14, 14], [32, 3, 3]) }.check();
    // its first: outputs in more than one step
    Case { pads: [1; 4], ..Case::of([2, 1, 28, 28], [16, 3, 3]) }.check();
    // 1 × 1: no padding, planes are one run
    Case::of([3, 5, 4, 4], [7, 1, 1]).check();
    // planes in blocks of 8, 4, 2, 1; more lanes than planes of the last block
    Case { pads: [1; 4], ..Case::of([1, 15, 5, 5], [35, 3, 3]) }.check();
    // more taps than stay in registers, so that outputs are added to
    Case { pads: [1; 4], ..Case::of([1, 120, 4, 4], [3, 3, 3]) }.check();
    // planes that are cut into bands
    Case { pads: [2, 1, 2, 1], ..Case::of([1, 30, 70, 40], [3, 5, 3]) }.check();
    // padding beyond the kernel: the gradient of the input is cut out
    Case { pads: [4, 5, 4, 5], ..Case::of([1, 2, 3, 3], [2, 3, 3]) }.check();
    // padding on one side only, strides that leave a rest
    Case { strides: [2, 3], pads: [0, 1, 1, 0], ..Case::of([2, 2, 8, 9], [3, 3, 2]) }.check();
    // rows long enough for a call
    Case { pads: [0, 1, 0, 1], ..Case::of([1, 1, 2, 150], [1, 1, 3]) }.check();
    // depthwise, as in MobileNet
    Case { group: 6, pads: [1; 4], strides: [2, 2], ..Case::of([2, 6, 7, 7], [6, 3, 3]) }.check();
    // groups with two outputs each, dilated
    Case { group: 2, pads: [2; 4], dilations: [2, 2], ..Case::of([2, 4, 6, 6], [4, 3, 3]) }.check();
    // many planes under three by three: tiles of several images at once, the last part with fewer; odd sizes
    Case { pads: [1; 4], ..Case::of([7, 17, 7, 5], [19, 3, 3]) }.check();
    // the same with planes cut into bands of rows, groups, padding on one side
    Case { group: 2, pads: [2, 0, 0, 1], ..Case::of([1, 32, 33, 40], [32, 3, 3]) }.check();
    // one tile, and less, of each image
    Case::of([65, 32, 4, 4], [16, 3, 3]).check();
    Case::of([65, 16, 3, 3], [32, 3, 3]).check();
    // no image
    Case::of([0, 2, 4, 4], [2, 3, 3]).check();
    Case::of([0, 16, 4, 4], [32, 3, 3]).check();
    // a kernel that does not fit: no output
    Case::of([1, 1, 2, 2], [1, 3, 3]).check();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(debug_assertions) { 60 } else { 400 }))]

    #[test]
    fn all_forms(
        images in 1usize..3, per_group in 1usize..6, group in 1usize..4, outputs in 1usize..10,
        size in [1usize..12, 1usize..20], kernel in [1usize..4, 1usize..5],
        strides in [1i64..4, 1i64..4], dilations in [1i64..3, 1i64..3], pads in [0i64..4, 0i64..4, 0i64..4, 0i64..4],
    ) {
        Case {
            x: [images, per_group * group, size[0], size[1]], w: [outputs * group, kernel[0], kernel[1]],
            strides, pads, dilations, group,
        }.check();
    }
}

#[test]
fn what_does_not_fit_is_an_error() {
    let window = Window::new([1, 1], [0; 4], [1, 1]).unwrap();
    let convolution = Convolution::new(window, 2).unwrap();
    assert!(convolution.sizes([1, 3, 4, 4], [2, 2, 3, 3]).unwrap_err().to_string().contains("multiple of group"));
    let error = convolution.sizes_with([1, 2, 3, 2], [1, 4, 4, 4], [2, 2, 3, 3]).unwrap_err().to_string();
    assert!(error.contains("make an output of shape [1, 2, 2, 2]"), "{error}");
    assert!(Convolution::new(window, 0).is_err());
    assert!(Window::new([0, 1], [0; 4], [1, 1]).is_err());
    assert!(Window::new([1, 1], [-1, 0, 0, 0], [1, 1]).is_err());
    let sizes = convolution.sizes([1, 4, 4, 4], [2, 2, 3, 3]).unwrap();
    assert!(convolution.forward(&Sequential, &sizes, &[0.0; 3], &[0.0; 36], None, &mut [0.0; 8]).is_err());
}
