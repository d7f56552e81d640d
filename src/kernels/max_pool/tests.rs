use proptest::prelude::*;

use super::*;
use crate::kernels::testing::{close, numbers, on_every_isa};
use crate::loss::Sequential;

/// Windows one by one, straight from the definition.
fn expected(op: &MaxPool, sizes: &Sizes, x: &[f32], dy: &[f32]) -> (Vec<f64>, Vec<f64>) {
    let ([height, width], [rows, columns]) = (sizes.x, sizes.y);
    let (mut y, mut dx) = (vec![], vec![0.0; x.len()]);
    for plane in 0..sizes.planes {
        for (row, column) in (0..rows).flat_map(|row| (0..columns).map(move |column| (row, column))) {
            let mut best: Option<usize> = None;
            for (i, j) in (0..op.kernel[0]).flat_map(|i| (0..op.kernel[1]).map(move |j| (i, j))) {
                let Window { strides, pads, dilations } = op.window;
                let down = (row * strides[0] + i * dilations[0]) as isize - pads[0] as isize;
                let across = (column * strides[1] + j * dilations[1]) as isize - pads[1] as isize;
                if down < 0 || across < 0 || down >= height as isize || across >= width as isize {
                    continue;
                }
                let at = (plane * height + down as usize) * width + across as usize;
                if best.is_none_or(|best| x[at] > x[best]) {
                    best = Some(at);
                }
            }
            let best = best.expect("a window with an element");
            dx[best] += f64::from(dy[y.len()]);
            y.push(f64::from(x[best]));
        }
    }
    (y, dx)
}

#[track_caller]
fn check(op: MaxPool, shape: [usize; 4], ties: bool) {
    let (sizes, y_shape) = op.sizes(shape);
    let len = |shape: [usize; 4]| shape.iter().product::<usize>();
    let mut x = numbers(len(shape), 1);
    if ties {
        // as behind a Relu
        x.iter_mut().for_each(|x| *x = x.max(0.0).round());
    }
    let dy = numbers(len(y_shape), 2);
    let (expected_y, expected_dx) = expected(&op, &sizes, &x, &dy);
    let (mut y, mut dx) = (vec![f32::NAN; dy.len()], vec![f32::NAN; x.len()]);
    op.forward(&Sequential, &sizes, &x, &mut y).unwrap();
    op.gradient(&Sequential, &sizes, &dy, &x, &mut dx).unwrap();
    close(&y, &expected_y, 0.0, &format!("y of {op:?} on {shape:?}"));
    close(&dx, &expected_dx, 1e-6, &format!("dx of {op:?} on {shape:?}"));
}

#[test]
fn windows_of_two_by_two() {
    let window = Window::new([2, 2], [0; 4], [1, 1]).unwrap();
    let op = MaxPool::new(window, [2, 2], false).unwrap();
    // even; odd: a row and a column that no window reaches; one; more planes than a block; none
    for shape in [[2, 3, 28, 28], [1, 2, 7, 9], [1, 1, 2, 2], [3, 40, 14, 14], [0, 2, 4, 4], [1, 1, 1, 1]] {
        on_every_isa(|| check(op, shape, false));
        on_every_isa(|| check(op, shape, true));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(debug_assertions) { 100 } else { 500 }))]

    #[test]
    fn all_forms(
        size in [1usize..12, 1usize..12], kernel in [1i64..4, 1i64..4], strides in [1i64..4, 1i64..4],
        dilations in [1i64..3, 1i64..3], pads in [0i64..3, 0i64..3, 0i64..3, 0i64..3], ceil: bool, ties: bool,
    ) {
        let window = Window::new(strides, pads, dilations).unwrap();
        if let Ok(op) = MaxPool::new(window, kernel, ceil) {
            // a window that lies between the elements: dilated over a small plane
            let (_, y) = op.sizes([2, 2, size[0], size[1]]);
            let reaches = (0..2).all(|i| dilations[i] == 1 || size[i] as i64 >= dilations[i]);
            if y[2] * y[3] > 0 && reaches {
                on_every_isa(|| check(op, [2, 2, size[0], size[1]], ties));
            }
        }
    }
}

#[test]
fn what_makes_no_window_is_an_error() {
    let padded = Window::new([1, 1], [2, 0, 0, 0], [1, 1]).unwrap();
    assert!(MaxPool::new(padded, [2, 2], false).unwrap_err().to_string().contains("reach beyond the padding"));
    assert!(MaxPool::new(Window::new([1, 1], [0; 4], [1, 1]).unwrap(), [0, 2], false).is_err());
}
