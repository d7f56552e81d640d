use super::*;
use crate::kernels::testing::{close, numbers};
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
    let op = BatchNormalization { epsilon: 1e-5, momentum: 0.9, relu };

    // in f64, as the formulas say
    // no image: sums of nothing, as means
    let count = (len / channels).max(1) as f64;
    let per_channel = |value: &dyn Fn(usize) -> f64| {
        let mut sums = vec![0.0; channels];
        (0..len).for_each(|at| sums[channel(at)] += value(at));
        sums
    };
    let means: Vec<f64> = per_channel(&|at| f64::from(x[at])).iter().map(|sum| sum / count).collect();
    let vars: Vec<f64> = per_channel(&|at| (f64::from(x[at]) - means[channel(at)]).powi(2)).iter().map(|s| s / count).collect();
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
    let output = Output { y: &mut found.0, running_mean: &mut found.1, running_var: &mut found.2 };
    op.forward(&Sequential, planes, &input, output).unwrap();
    let tolerance = 2e-5 * (1.0 + f64::from(shift));
    close(&found.0, &y, tolerance, &format!("y of {what}"));
    let blend = |old: &[f32], new: &[f64]| -> Vec<f64> {
        old.iter().zip(new).map(|(&old, new)| 0.9f32 as f64 * f64::from(old) + (1.0 - 0.9f32 as f64) * new).collect()
    };
    close(&found.1, &blend(&mean, &means), 1e-6, &format!("running mean of {what}"));
    close(&found.2, &blend(&var, &vars), 1e-6, &format!("running var of {what}"));

    let upstream = Upstream { dy: &dy, x: &x, scale: &scale, bias: &bias };
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
    for shape in [&[1, 1, 1, 1][..], &[2, 3, 3, 5], &[3, 2, 9, 9], &[2, 2, 40, 70], &[7, 4], &[2, 2, 3, 2, 4], &[0, 2, 3, 3]] {
        for relu in [false, true] {
            // far from 0, where squares lose what is left of small distances
            for shift in [0.0, 100.0] {
                check(shape, relu, shift);
            }
        }
    }
}

#[test]
fn lengths_that_do_not_fit_are_an_error() {
    assert!(Planes::new(&[3]).is_err());
    let planes = Planes::new(&[1, 2, 2]).unwrap();
    let op = BatchNormalization { epsilon: 1e-5, momentum: 0.9, relu: false };
    let upstream = Upstream { dy: &[0.0; 4], x: &[0.0; 4], scale: &[1.0; 3], bias: &[0.0; 2] };
    let gradients = Gradients { dx: &mut [0.0; 4], dscale: &mut [0.0; 2], dbias: &mut [0.0; 2] };
    let error = op.gradient(&Sequential, planes, &upstream, gradients).unwrap_err().to_string();
    assert_eq!(error, "scale holds 3 numbers, but needs one per channel: 2");
}
