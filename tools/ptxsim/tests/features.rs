//! PTX as the compiler writes it: tests/kernels/features.cu and functions.cu compute what C computes.

mod support;

use half::{bf16, f16};
use ptxsim::{Memory, Module, Options, Order};
use support::{Argument::*, Random, download_all, launch, parse, text, upload, upload_all};

fn features() -> Module {
    parse(&text("tests/kernels/features.ptx"))
}

fn every_order() -> impl Iterator<Item = Options> {
    let orders = [Order::Ascending, Order::Descending, Order::Random(1), Order::Random(2), Order::Random(3)];
    orders.into_iter().map(|order| Options { order, ..Options::default() })
}

/// Runs a kernel or panics with its fault.
fn run(
    module: &Module,
    kernel: &str,
    shape: (u32, u32, u32),
    arguments: &[support::Argument<'_>],
    memory: &mut Memory,
    options: &Options,
) {
    launch(module, kernel, shape, arguments, memory, options).unwrap_or_else(|fault| panic!("{fault}"));
}

#[test]
fn integers() {
    let module = features();
    let mut random = Random(5);
    let mut x: Vec<i64> = (0..250).map(|_| (random.bits() >> (random.bits() % 60)) as i64).collect();
    x.extend([1, -1, i64::MIN + 1, i64::MAX, 1 << 40, -7]);
    let mut memory = Memory::new();
    let from = upload_all(&mut memory, &x);
    let to = memory.allocate(x.len() * 128).expect("memory");
    run(&module, "integers", (1, 256, 0), &[Address(from), Address(to)], &mut memory, &Options::default());
    for (v, o) in x.iter().zip(download_all::<i64>(&memory, to, x.len() * 16).chunks(16)) {
        let (v, w, u) = (*v, *v as i32, *v as u32);
        let first_set = if v == 0 { 0 } else { v.trailing_zeros() as i64 + 1 };
        let bytes = (u64::from(!u) << 32 | u64::from(u)).to_le_bytes();
        let expected = [
            v / 7,
            v % 1_000_003,
            (v as u64 / (w as i64 as u64 | 1)) as i64,
            i64::from(u.count_ones()) + 100 * i64::from(u.leading_zeros()) + 10000 * first_set,
            i64::from(u.reverse_bits()),
            i64::from(((u64::from(u) * 12345) >> 32) as u32),
            ((i128::from(v) * i128::from(v.wrapping_mul(3))) >> 64) as i64,
            i64::from(((u64::from(!u) << 32 | u64::from(u)) << (w & 31) >> 32) as u32),
            i64::from(u32::from_le_bytes([bytes[5], bytes[7], bytes[1], bytes[3]])),
            v >> (w & 63),
            i64::from(i32::from(w as i16) * i32::from(w as i8)),
            w as f32 as i64,
            (v as u64).max(5) as i64,
            v.min(-3),
            i64::from(w.wrapping_abs()),
            if w < 0 { -1 } else { (w > 5).into() },
        ];
        assert_eq!(o, expected, "{v}");
    }
}

#[test]
fn rows_staged_by_asynchronous_copies() {
    let module = features();
    let x: Vec<f32> = (0..256).map(|i| i as f32).collect();
    for options in every_order() {
        let mut memory = Memory::new();
        let from = upload_all(&mut memory, &x);
        let to = memory.allocate(16).expect("memory");
        run(&module, "staged", (4, 32, 256), &[Address(from), Address(to)], &mut memory, &options);
        let expected: Vec<f32> = (0..4).map(|row| x[row * 64..][..64].iter().sum::<f32>() + row as f32 + 1.5).collect();
        assert_eq!(download_all::<f32>(&memory, to, 4), expected);
    }
    // the kernel needs its 256 bytes
    let mut memory = Memory::new();
    let (from, to) = (upload_all(&mut memory, &x), memory.allocate(16).expect("memory"));
    let fault =
        launch(&module, "staged", (4, 32, 192), &[Address(from), Address(to)], &mut memory, &Options::default());
    assert!(matches!(fault.expect_err("too little").kind, ptxsim::FaultKind::OutOfBounds { .. }));
}

#[test]
fn lanes_of_a_warp_exchange_values() {
    let module = features();
    let x: Vec<f32> = (0..64).map(|i| i as f32).collect();
    for options in every_order() {
        let mut memory = Memory::new();
        let from = upload_all(&mut memory, &x);
        let (y, z) = (memory.allocate(512).expect("memory"), memory.allocate(512).expect("memory"));
        run(&module, "warps", (1, 64, 0), &[Address(from), Address(y), Address(z)], &mut memory, &options);
        let v = |i: usize| 2.0 * x[i ^ 3 ^ 1];
        let warp = |i: usize| i / 32 * 32..i / 32 * 32 + 32;
        let expected: Vec<f64> = (0..64)
            .map(|i| {
                let next = if i % 16 == 15 { v(i) } else { v(i + 1) };
                let odd = if i % 2 == 0 {
                    0.0
                } else if i % 16 < 2 {
                    v(i)
                } else {
                    v(i - 2)
                };
                f64::from(v(i)) + 100.0 * f64::from(v(i / 8 * 8 + 3)) + 10000.0 * f64::from(next) + 1e6 * f64::from(odd)
            })
            .collect();
        assert_eq!(download_all::<f64>(&memory, y, 64), expected);
        let votes = (0..64).map(|i| {
            let ballot: u32 = warp(i).filter(|&j| v(j) > 60.0).map(|j| 1 << (j % 32)).sum();
            ballot.wrapping_add(u32::from(warp(i).any(|j| v(j) > 125.0)))
        });
        let sums = (0..64).map(|i| (warp(i).sum::<usize>() as u32).wrapping_add(0xff << (i % 32 / 8 * 8)));
        assert_eq!(download_all::<u32>(&memory, z, 128), votes.chain(sums).collect::<Vec<_>>());
    }
}

#[test]
fn functions_call_themselves() {
    fn power(a: f64, n: i32) -> f64 {
        if n < 1 { a * 2.5 } else { power(a + 1.0, n - 1) * 1.5 + f64::from(n) }
    }
    let module = features();
    let mut packet = vec![0; 32];
    packet[..8].copy_from_slice(&7i64.to_le_bytes());
    packet[8..12].copy_from_slice(&1.5f32.to_le_bytes());
    packet[16..24].copy_from_slice(&2.5f64.to_le_bytes());
    packet[24..26].copy_from_slice(&(-300i16).to_le_bytes());
    packet[27] = -5i8 as u8;
    for options in every_order() {
        let mut memory = Memory::new();
        let y = memory.allocate(256).expect("memory");
        run(&module, "calls", (1, 32, 0), &[Bytes(&packet), Address(y)], &mut memory, &options);
        let expected: Vec<f64> = (0..32).map(|i| power(7.0, i & 3) - 300.0 - 5.0).collect();
        assert_eq!(download_all::<f64>(&memory, y, 32), expected);
    }
}

#[test]
fn local_arrays_and_switches() {
    let module = features();
    let x: Vec<i32> = (0..16).map(|i| 3 * i + 1).collect();
    let mut memory = Memory::new();
    let (from, y) = (upload_all(&mut memory, &x), memory.allocate(64).expect("memory"));
    run(&module, "locals", (1, 16, 0), &[Address(from), Address(y), Number(11)], &mut memory, &Options::default());
    let expected: Vec<i32> = (0..16)
        .map(|i| {
            let at = (x[i] & 15) as usize;
            let v = x[at] * at as i32;
            match i {
                0 => v + 11,
                1 => v * 3,
                2 => v - x[3],
                3 => v ^ 9,
                4 => -v,
                5 => v / 3,
                _ => v + 1000,
            }
        })
        .collect();
    assert_eq!(download_all::<i32>(&memory, y, 16), expected);
}

#[test]
fn halves_by_inline_assembly() {
    let module = features();
    let x: Vec<u16> = (0..512).map(|i| i * 127).filter(|&bits| !f16::from_bits(bits).is_nan()).collect();
    let threads = x.len() as u32;
    let mut memory = Memory::new();
    let from = upload_all(&mut memory, &x);
    let (up, down) = (memory.allocate(8 * x.len()).expect("memory"), memory.allocate(12 * x.len()).expect("memory"));
    run(
        &module,
        "halves",
        (1, threads, 0),
        &[Address(from), Address(up), Address(down)],
        &mut memory,
        &Options::default(),
    );
    let (up, down) = (download_all::<u32>(&memory, up, 2 * x.len()), download_all::<u32>(&memory, down, 3 * x.len()));
    for (place, bits) in x.iter().enumerate() {
        let h = f16::from_bits(*bits);
        let f = h.to_f32();
        assert_eq!(up[2 * place], f.to_bits());
        assert_eq!(up[2 * place + 1], u32::from(*bits) << 16);
        let pair = |high: u16, low: u16| u32::from(high) << 16 | u32::from(low);
        let f16s = pair(f16::from_f32(f * 0.1).to_bits(), f16::from_f32(f * 3.0).to_bits());
        let bf16s = pair(bf16::from_f32(f * 3.0).to_bits(), bf16::from_f32(f * 0.1).to_bits());
        let product = f16::from_f64(h.to_f64() * h.to_f64() + h.to_f64());
        let product = if product.is_nan() { 0x7fff } else { product.to_bits() };
        assert_eq!(down[3 * place..][..3], [f16s, bf16s, pair(product, product)], "{h}");
    }
}

#[test]
fn atomics_and_variables_of_the_module() {
    let module = features();
    for options in every_order() {
        let mut memory = Memory::new();
        let (y, z) = (upload_all(&mut memory, &[0i32, 0, 0]), upload(&mut memory, &[0; 4]));
        run(&module, "atomics", (6, 64, 0), &[Address(y), Address(z)], &mut memory, &options);
        assert_eq!(download_all::<i32>(&memory, y, 3), [6 * 164, 5, 42]);
        assert_eq!(download_all::<f32>(&memory, z, 1), [3.0]);
        let out = memory.allocate(12).expect("memory");
        run(&module, "variables", (1, 1, 0), &[Address(out)], &mut memory, &options);
        assert_eq!(download_all::<u32>(&memory, out, 3), [7 + 6, 20, 30]);
        let (address, size) = memory.variable(&module, "counter").expect("memory").expect("the variable");
        assert_eq!((download_all::<u32>(&memory, address, 1), size), (vec![13], 4));
        assert_eq!(memory.variable(&module, "nothing").expect("memory"), None);
    }
}

#[test]
fn barriers_that_count() {
    let module = features();
    for options in every_order() {
        let mut memory = Memory::new();
        let y = memory.allocate(400).expect("memory");
        run(&module, "barriers", (1, 100, 0), &[Address(y)], &mut memory, &options);
        assert_eq!(download_all::<i32>(&memory, y, 100), [5 + 500 + 1000; 100]);
    }
}

#[test]
fn vectors_and_how_they_coalesce() {
    let module = features();
    let x: Vec<i32> = (0..400).collect();
    let mut memory = Memory::new();
    let (from, to) = (upload_all(&mut memory, &x), memory.allocate(1600).expect("memory"));
    let arguments = [Address(from), Address(to), Number(100)];
    let statistics =
        launch(&module, "vectors", (2, 64, 0), &arguments, &mut memory, &Options::default()).expect("runs");
    let y = download_all::<i32>(&memory, to, 400);
    assert!(
        (0..100).all(|i| y[4 * i..][..4] == [8 * i as i32 + 3, 4 * i as i32 + 1, 4 * i as i32 + 2, 4 * i as i32 + 3])
    );
    assert_eq!((statistics.global_loads, statistics.global_bytes_loaded), (200, 3200));
    assert_eq!((statistics.global_stores, statistics.global_bytes_stored), (100, 1600));
    // 1600 bytes are 12 lines and a half, and each is touched by one warp
    assert_eq!((statistics.global_load_transactions, statistics.global_store_transactions), (26, 13));
    assert_eq!(statistics.blocks, 2);
}

#[test]
fn numbers_of_128_bits() {
    let module = features();
    let x = [u64::MAX - 5, 7, u64::MAX, 3];
    let mut memory = Memory::new();
    let (from, to) = (upload_all(&mut memory, &x), memory.allocate(48).expect("memory"));
    run(&module, "wide", (1, 1, 0), &[Address(from), Address(to)], &mut memory, &Options::default());
    let y = download_all::<u64>(&memory, to, 6);
    let wide = |low: u64, high: u64| u128::from(high) << 64 | u128::from(low);
    let (a, b) = (wide(x[0], x[1]), wide(x[2], x[3]));
    assert_eq!(wide(y[0], y[1]), a.wrapping_add(b));
    assert_eq!(wide(y[2], y[3]), a.wrapping_sub(b));
    assert_eq!(wide(y[4], y[5]), u128::from(x[0]) * u128::from(x[2]) + u128::from(x[1]));
}

/// Places by which two numbers of one sign differ.
fn ulps(a: f64, b: f64, ulp: f64) -> f64 {
    if a == b || (a.is_nan() && b.is_nan()) { 0.0 } else { ((a - b) / ulp).abs() }
}

#[test]
fn functions_of_the_library_in_single_precision() {
    let module = parse(&text("tests/kernels/functions.ptx"));
    let mut random = Random(6);
    let mut x: Vec<f32> = (0..1000).map(|_| (random.fraction() * 20.0 - 10.0) as f32).collect();
    x.extend([0.5, 1.0, -1.0, 3e-5, -80.0, 80.0, 1e-20, f32::INFINITY, f32::NAN]);
    let mut memory = Memory::new();
    let (from, to) = (upload_all(&mut memory, &x), memory.allocate(x.len() * 64).expect("memory"));
    let arguments = [Address(from), Address(to), Number(x.len() as i32)];
    run(&module, "single", (8, 128, 0), &arguments, &mut memory, &Options::default());
    let pi = std::f64::consts::PI;
    for (v, found) in x.iter().zip(download_all::<f32>(&memory, to, x.len() * 16).chunks(16)) {
        let (v, single) = (f64::from(*v), *v);
        let turn = v % 2.0;
        // the function, and the most places that CUDA says it errs by
        let expected: [(f64, f64); 16] = [
            (v.exp(), 2.0),
            (v.abs().ln(), 2.0),
            (v.abs().ln_1p(), 2.0),
            ((turn * pi).sin(), 2.0),
            ((turn * pi).cos(), 2.0),
            (v.abs().powf(f64::from(2.3f32)), 8.0),
            (v.tanh(), 2.0),
            (f64::from(single.abs().sqrt()), 0.0),
            (f64::from(1.0 / single), 0.0),
            (f64::from(single / 3.7), 0.0),
            (1.0 / v.abs().sqrt(), 2.0),
            (v.exp(), 40.0),
            (v.exp_m1(), 2.0),
            (
                f64::from(single.floor() + 2.0 * single.ceil() + 4.0 * single.round_ties_even() + 8.0 * single.trunc()),
                0.0,
            ),
            (f64::from(single % 0.7), 0.0),
            (v.sin(), 2.0),
        ];
        for (place, ((exact, most), found)) in expected.iter().zip(found).enumerate() {
            // zeros of sine in f64 aren't
            let ulp = f64::from((*exact as f32).abs().max(1e-9).next_up() - (*exact as f32).abs().max(1e-9));
            let error = ulps(f64::from(*found), f64::from(*exact as f32), ulp);
            assert!(error <= *most, "function {place} of {v:e}: {found:e}, expected {exact:e}");
        }
    }
}

#[test]
fn functions_of_the_library_in_double_precision() {
    let module = parse(&text("tests/kernels/functions.ptx"));
    let mut random = Random(7);
    let mut x: Vec<f64> = (0..1000).map(|_| random.fraction() * 20.0 - 10.0).collect();
    x.extend([0.5, 1.0, -1.0, 3e-5, -700.0, 700.0, 1e-200, f64::INFINITY, f64::NAN, 1e9]);
    let mut memory = Memory::new();
    let (from, to) = (upload_all(&mut memory, &x), memory.allocate(x.len() * 96).expect("memory"));
    let arguments = [Address(from), Address(to), Number(x.len() as i32)];
    run(&module, "twice", (8, 128, 0), &arguments, &mut memory, &Options::default());
    let pi = std::f64::consts::PI;
    for (v, found) in x.iter().zip(download_all::<f64>(&memory, to, x.len() * 12).chunks(12)) {
        let v = *v;
        let turn = v % 2.0;
        let expected: [(f64, f64); 12] = [
            (v.exp(), 2.0),
            (v.abs().ln(), 2.0),
            (v.abs().ln_1p(), 2.0),
            ((turn * pi).sin(), 1e7),
            ((turn * pi).cos(), 1e7),
            (v.abs().powf(2.3), 3.0),
            (v.abs().sqrt(), 0.0),
            (1.0 / v, 0.0),
            (v / 3.7, 0.0),
            (v.floor() + 2.0 * v.ceil() + 4.0 * v.round_ties_even() + 8.0 * v.trunc(), 0.0),
            (v.exp_m1(), 2.0),
            (v.sin(), 3.0),
        ];
        for (place, ((exact, most), found)) in expected.iter().zip(found).enumerate() {
            let magnitude = exact.abs().max(1e-300);
            // sine near its zeros is only as good as the reference's pi
            let most = if (3..5).contains(&place) && exact.abs() > 0.1 { 16.0 } else { *most };
            let error = ulps(*found, *exact, magnitude.next_up() - magnitude);
            let small = (3..5).contains(&place) && (found - exact).abs() < 1e-15;
            assert!(error <= most || small, "function {place} of {v:e}: {found:e}, expected {exact:e}");
        }
    }
}

#[test]
fn a_seed_gives_the_same_run_every_time() {
    let module = features();
    let run = |seed| {
        let x: Vec<f32> = (0..64).map(|i| i as f32).collect();
        let mut memory = Memory::new();
        let from = upload_all(&mut memory, &x);
        let (y, z) = (memory.allocate(512).expect("memory"), memory.allocate(512).expect("memory"));
        let options = Options { order: Order::Random(seed), ..Options::default() };
        launch(&module, "warps", (1, 64, 0), &[Address(from), Address(y), Address(z)], &mut memory, &options)
            .expect("runs")
    };
    assert!((0..20).all(|seed| run(seed) == run(seed)));
    assert!((1..20).any(|seed| run(seed) != run(0)), "the seed has no effect");
}

#[test]
fn approximations_err_as_far_as_they_are_asked_to() {
    let module = parse(&support::small_kernel(
        "mul.wide.u32 %rd3, %r1, 4; add.u64 %rd4, %rd1, %rd3; ld.global.f32 %f1, [%rd4];
         ex2.approx.ftz.f32 %f2, %f1; st.global.f32 [%rd4], %f2;",
    ));
    let x: Vec<f32> = (0..1024).map(|i| i as f32 / 100.0 - 5.0).collect();
    let results = |ulp_noise| {
        let mut memory = Memory::new();
        let a = upload_all(&mut memory, &x);
        let options = Options { ulp_noise, ..Options::default() };
        run(&module, "k", (1, 1024, 0), &[Address(a), Address(0)], &mut memory, &options);
        download_all::<u32>(&memory, a, x.len())
    };
    let exact = results(0);
    assert!(exact.iter().zip(&x).all(|(found, x)| f32::from_bits(*found) == f64::from(*x).exp2() as f32));
    let errors: Vec<i64> = results(2).iter().zip(&exact).map(|(a, b)| i64::from(*a) - i64::from(*b)).collect();
    assert!((-2..=2).all(|error| errors.contains(&error)) && errors.iter().all(|error| error.abs() <= 2));
}
