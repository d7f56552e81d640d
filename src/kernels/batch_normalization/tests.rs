use super::*;
use crate::kernels::Window;
use crate::kernels::testing::{close, numbers, on_every_isa};
use crate::loss::Sequential;

fn check(shape: &[usize], relu: bool, shift: f32) {
    let what = format!("{shape:?}, relu {relu}, around {shift}");
    let planes = Planes::new(shape).unwrap();
    let (len, channels) = (planes.len(), shape[1]);
    let plane: usize = shape[2..].iter().product();
    let channel = |at: usize| at / plane % channels;
    let x: Vec<f32> = numbers(len, 1).iter().map(|x| x + shift).collect();
    let (scale, bias, dy) = (numbers(channels, 2), numbers(channels, 3), numbers(len, 4));
    let (mean, var) = (numbers(channels, 5), numbers(channels, 6));
    let op = BatchNormalization { epsilon: 1e-5, momentum: 0.9, relu, pool: None };

    // in f64, as the formulas say
    // no image: sums of nothing, as means
    let count = (len / channels).max(1) as f64;
    let per_channel = |value: &dyn Fn(usize) -> f64| {
        let mut sums = vec![0.0; channels];
        (0..len).for_each(|at| sums[channel(at)] += value(at));
        sums
    };
    let means: Vec<f64> = per_channel(&|at| f64::from(x[at])).iter().map(|sum| sum / count).collect();
    let vars: Vec<f64> =
        per_channel(&|at| (f64::from(x[at]) - means[channel(at)]).powi(2)).iter().map(|s| s / count).collect();
    let inverse = |c: usize| 1.0 / (vars[c] + f64::from(op.epsilon)).sqrt();
    let hat = |at: usize| (f64::from(x[at]) - means[channel(at)]) * inverse(channel(at));
    let line = |at: usize| f64::from(scale[channel(at)]) * hat(at) + f64::from(bias[channel(at)]);
    let y: Vec<f64> = (0..len).map(|at| if relu { line(at).max(0.0) } else { line(at) }).collect();
    let g = |at: usize| if relu && line(at) <= 0.0 { 0.0 } else { f64::from(dy[at]) };
    let dbias = per_channel(&g);
    let dscale = per_channel(&|at| g(at) * hat(at));
    let dx: Vec<f64> = (0..len)
        .map(|at| {
            let c = channel(at);
            f64::from(scale[c]) * inverse(c) * (g(at) - dbias[c] / count - hat(at) * dscale[c] / count)
        })
        .collect();

    let mut found = (vec![f32::NAN; len], vec![f32::NAN; channels], vec![f32::NAN; channels]);
    let input = Input { x: &x, scale: &scale, bias: &bias, running_mean: &mean, running_var: &var };
    let mut statistics = (vec![f32::NAN; channels], vec![f32::NAN; channels]);
    let output = Output {
        y: &mut found.0,
        running_mean: &mut found.1,
        running_var: &mut found.2,
        mean: &mut statistics.0,
        var: &mut statistics.1,
    };
    op.forward(&Sequential, planes, &input, output).unwrap();
    let tolerance = 2e-5 * (1.0 + f64::from(shift));
    close(&found.0, &y, tolerance, &format!("y of {what}"));
    let blend = |old: &[f32], new: &[f64]| -> Vec<f64> {
        old.iter().zip(new).map(|(&old, new)| 0.9f32 as f64 * f64::from(old) + (1.0 - 0.9f32 as f64) * new).collect()
    };
    close(&found.1, &blend(&mean, &means), 1e-6, &format!("running mean of {what}"));
    close(&found.2, &blend(&var, &vars), 1e-6, &format!("running var of {what}"));

    // with the statistics, and without where there is no Relu: both ways are used
    let given = relu.then_some([&statistics.0[..], &statistics.1]);
    let upstream = Upstream { dy: &dy, x: &x, scale: &scale, bias: &bias, statistics: given };
    let gradients = Gradients { dx: &mut found.0, dscale: &mut found.1, dbias: &mut found.2 };
    op.gradient(&Sequential, planes, &upstream, gradients).unwrap();
    // a number next to Relu's edge may fall on either side
    let near: Vec<bool> = (0..len).map(|at| relu && line(at).abs() < tolerance).collect();
    if near.iter().all(|near| !near) {
        close(&found.0, &dx, tolerance * 5.0, &format!("dx of {what}"));
        close(&found.1, &dscale, tolerance * 5.0, &format!("dscale of {what}"));
        close(&found.2, &dbias, tolerance * 5.0, &format!("dbias of {what}"));
    }
}

#[test]
fn as_the_formulas_in_f64() {
    // one number per channel, whose variance is 0; less than a step of registers; a step and a rest; several runs; no
    // spatial axes; five axes; no image
    for shape in
        [&[1, 1, 1, 1][..], &[2, 3, 3, 5], &[3, 2, 9, 9], &[2, 2, 40, 70], &[7, 4], &[2, 2, 3, 2, 4], &[0, 2, 3, 3]]
    {
        for relu in [false, true] {
            // far from 0, where squares lose what is left of small distances
            for shift in [0.0, 100.0] {
                on_every_isa(|| check(shape, relu, shift));
            }
        }
    }
}

#[test]
fn lengths_that_do_not_fit_are_an_error() {
    assert!(Planes::new(&[3]).is_err());
    let planes = Planes::new(&[1, 2, 2]).unwrap();
    let op = BatchNormalization { epsilon: 1e-5, momentum: 0.9, relu: false, pool: None };
    let upstream = Upstream { dy: &[0.0; 4], x: &[0.0; 4], scale: &[1.0; 3], bias: &[0.0; 2], statistics: None };
    let gradients = Gradients { dx: &mut [0.0; 4], dscale: &mut [0.0; 2], dbias: &mut [0.0; 2] };
    let error = op.gradient(&Sequential, planes, &upstream, gradients).unwrap_err().to_string();
    assert_eq!(error, "scale holds 3 numbers, but needs one per channel: 2");
}

/// With a pool on top: as the parts one after the other.
fn check_pooled(shape: [usize; 4], pool: MaxPool) {
    let what = format!("{shape:?} with {pool:?}");
    let [images, channels, height, width] = shape;
    let planes = Planes::new(&shape).unwrap();
    let (sizes, y_shape) = pool.sizes([images, channels, height, width]);
    let x = numbers(planes.len(), 1);
    let (scale, bias) = (numbers(channels, 2), numbers(channels, 3));
    let dy = numbers(y_shape.iter().product(), 4);
    let (mean, var) = (vec![0.0; channels], vec![1.0; channels]);
    let mut per_channel = vec![vec![f32::NAN; channels]; 6];
    let run = |op: BatchNormalization, y: &mut [f32], found: &mut [Vec<f32>]| {
        let input = Input { x: &x, scale: &scale, bias: &bias, running_mean: &mean, running_var: &var };
        let [running_mean, running_var, batch_mean, batch_var, ..] = found else { panic!("four") };
        let output = Output { y, running_mean, running_var, mean: batch_mean, var: batch_var };
        op.forward(&Sequential, planes, &input, output).unwrap();
    };
    let plain = BatchNormalization { epsilon: 1e-5, momentum: 0.9, relu: true, pool: None };
    let fused = BatchNormalization { pool: Some(pool), ..plain };
    let (mut middle, mut expected_y, mut y) =
        (vec![f32::NAN; x.len()], vec![f32::NAN; dy.len()], vec![f32::NAN; dy.len()]);
    run(plain, &mut middle, &mut per_channel);
    pool.forward(&Sequential, &sizes, &middle, &mut expected_y).unwrap();
    run(fused, &mut y, &mut per_channel);
    assert_eq!(y, expected_y, "y of {what}");

    let [_, _, batch_mean, batch_var, dscale, dbias] = &mut per_channel[..] else { panic!("six") };
    let statistics = Some([&batch_mean[..], &batch_var[..]]);
    let (mut dmiddle, mut expected, mut dx) = (middle.clone(), middle.clone(), vec![f32::NAN; x.len()]);
    pool.gradient(&Sequential, &sizes, &dy, &middle, &mut dmiddle).unwrap();
    let upstream = Upstream { dy: &dmiddle, x: &x, scale: &scale, bias: &bias, statistics };
    let gradients = Gradients { dx: &mut expected, dscale, dbias };
    plain.gradient(&Sequential, planes, &upstream, gradients).unwrap();
    let expected_sums = [dscale.clone(), dbias.clone()];
    let gradients = Gradients { dx: &mut dx, dscale, dbias };
    fused.gradient(&Sequential, planes, &Upstream { dy: &dy, ..upstream }, gradients).unwrap();
    // sums in another order
    let all = [
        ("dx", &dx, expected),
        ("dscale", &*dscale, expected_sums[0].clone()),
        ("dbias", &*dbias, expected_sums[1].clone()),
    ];
    for (name, found, expected) in all {
        let expected: Vec<f64> = expected.into_iter().map(f64::from).collect();
        close(found, &expected, 2e-6, &format!("{name} of {what}"));
    }
}

#[test]
fn a_pool_on_top_is_as_the_parts() {
    let pool =
        |strides, pads, kernel| MaxPool::new(Window::new(strides, pads, [1, 1]).unwrap(), kernel, false).unwrap();
    // side by side; odd sizes; windows that overlap, with padding (as in ResNet); no image
    for shape in [[3, 2, 8, 8], [2, 3, 7, 9], [1, 2, 40, 36], [0, 1, 4, 4]] {
        on_every_isa(|| {
            check_pooled(shape, pool([2, 2], [0; 4], [2, 2]));
            check_pooled(shape, pool([2, 2], [1; 4], [3, 3]));
        });
    }
}
