//! Each instruction that computes, against Rust's own arithmetic, on edges and random values.

mod support;

use half::{bf16, f16};
use support::{Random, evaluate};

type Reference = fn([u64; 4]) -> u64;

/// Runs the instruction and its reference on the same inputs.
fn check(instruction: &str, inputs: &[[u64; 4]], reference: Reference) {
    for (input, found) in inputs.iter().zip(evaluate(instruction, inputs)) {
        let expected = reference(*input);
        assert_eq!(found, expected, "{instruction} of {input:x?}: {found:#x}, expected {expected:#x}");
    }
}

fn integers() -> Vec<[u64; 4]> {
    let edges = [0, 1, 2, 31, 32, 33, 63, 64, 0x7f, 0x80, 0xff, 0x7fff, 0x8000, 0xffff, 0x7fff_ffff, 0x8000_0000];
    let wide = [0xffff_ffff, 1 << 32, i64::MAX as u64, i64::MIN as u64, u64::MAX, u64::MAX - 1];
    let mut random = Random(1);
    let edges: Vec<u64> = edges.into_iter().chain(wide).collect();
    let mut inputs: Vec<[u64; 4]> = Vec::new();
    for &a in &edges {
        for &b in &edges {
            inputs.push([a, b, edges[random.below(edges.len())], edges[random.below(edges.len())]]);
        }
    }
    for _ in 0..400 {
        inputs.push(std::array::from_fn(|_| random.bits() >> (random.bits() % 64)));
    }
    inputs
}

/// Edges and random bits of floats with 32 bits.
fn singles() -> Vec<[u64; 4]> {
    let edges =
        [0.0, -0.0, 1.0, -1.5, 0.1, 1e-40, -1e-45, f32::MIN_POSITIVE, f32::MAX, f32::INFINITY, f32::NEG_INFINITY];
    let edges: Vec<u64> = edges.map(|edge: f32| edge.to_bits().into()).into_iter().chain([0x7fc0_0001]).collect();
    combined(&edges, |random| {
        if random.below(2) == 0 {
            random.bits() & 0xffff_ffff
        } else {
            ((random.fraction() * 8.0 - 4.0) as f32).to_bits().into()
        }
    })
}

fn doubles() -> Vec<[u64; 4]> {
    let edges =
        [0.0, -0.0, 1.0, -1.5, 0.1, 5e-324, f64::MIN_POSITIVE, f64::MAX, f64::INFINITY, f64::NEG_INFINITY, 1e300];
    let edges: Vec<u64> = edges.map(f64::to_bits).into_iter().chain([0x7ff8_0000_0000_0001]).collect();
    combined(
        &edges,
        |random| {
            if random.below(2) == 0 { random.bits() } else { (random.fraction() * 8.0 - 4.0).to_bits() }
        },
    )
}

fn combined(edges: &[u64], next: impl Fn(&mut Random) -> u64) -> Vec<[u64; 4]> {
    let mut random = Random(2);
    let mut inputs = Vec::new();
    for &a in edges {
        for &b in edges {
            inputs.push([a, b, edges[random.below(edges.len())], 0]);
        }
    }
    for _ in 0..2000 {
        inputs.push([next(&mut random), next(&mut random), next(&mut random), 0]);
    }
    inputs
}

fn f(bits: u64) -> f32 {
    f32::from_bits(bits as u32)
}

fn d(bits: u64) -> f64 {
    f64::from_bits(bits)
}

/// The bits of an f32, whose NaN is always the same.
fn fbits(value: f32) -> u64 {
    if value.is_nan() { 0x7fff_ffff } else { value.to_bits().into() }
}

fn flush(value: f32) -> f32 {
    if value.is_subnormal() { 0f32.copysign(value) } else { value }
}

/// Floats of 64 bits, any NaN for any other.
fn check_doubles(instruction: &str, reference: fn([f64; 3]) -> f64) {
    let inputs = doubles();
    for (input, found) in inputs.iter().zip(evaluate(instruction, &inputs)) {
        let expected = reference([d(input[0]), d(input[1]), d(input[2])]);
        let same = found == expected.to_bits() || (d(found).is_nan() && expected.is_nan());
        assert!(same, "{instruction} of {input:x?}: {:e}, expected {expected:e}", d(found));
    }
}

#[test]
fn integers_add_subtract_multiply() {
    let inputs = integers();
    let table: &[(&str, Reference)] = &[
        ("add.s32 %rx, %ra, %rb;", |[a, b, ..]| (a as u32).wrapping_add(b as u32).into()),
        ("add.s64 %lx, %la, %lb;", |[a, b, ..]| a.wrapping_add(b)),
        ("add.s16 %hx, %ha, %hb;", |[a, b, ..]| (a as u16).wrapping_add(b as u16).into()),
        ("add.s32 %rx, %ra, -7;", |[a, ..]| (a as u32).wrapping_sub(7).into()),
        ("sub.s32 %rx, %ra, %rb;", |[a, b, ..]| (a as u32).wrapping_sub(b as u32).into()),
        ("sub.s64 %lx, 5, %lb;", |[_, b, ..]| 5u64.wrapping_sub(b)),
        ("mul.lo.s32 %rx, %ra, %rb;", |[a, b, ..]| (a as u32).wrapping_mul(b as u32).into()),
        ("mul.lo.s64 %lx, %la, %lb;", |[a, b, ..]| a.wrapping_mul(b)),
        ("mul.lo.s16 %hx, %ha, %hb;", |[a, b, ..]| (a as u16).wrapping_mul(b as u16).into()),
        ("mul.hi.u32 %rx, %ra, %rb;", |[a, b, ..]| ((a & 0xffff_ffff) * (b & 0xffff_ffff)) >> 32),
        ("mul.hi.s32 %rx, %ra, %rb;", |[a, b, ..]| ((i64::from(a as i32) * i64::from(b as i32)) >> 32) as u32 as u64),
        ("mul.hi.u64 %lx, %la, %lb;", |[a, b, ..]| ((u128::from(a) * u128::from(b)) >> 64) as u64),
        ("mul.hi.s64 %lx, %la, %lb;", |[a, b, ..]| ((i128::from(a as i64) * i128::from(b as i64)) >> 64) as u64),
        ("mul.wide.u32 %lx, %ra, %rb;", |[a, b, ..]| (a & 0xffff_ffff) * (b & 0xffff_ffff)),
        ("mul.wide.s32 %lx, %ra, %rb;", |[a, b, ..]| (i64::from(a as i32) * i64::from(b as i32)) as u64),
        ("mul.wide.s32 %lx, %ra, -3;", |[a, ..]| (i64::from(a as i32) * -3) as u64),
        ("mul.wide.u16 %rx, %ha, %hb;", |[a, b, ..]| (a & 0xffff) * (b & 0xffff)),
        ("mul.wide.s16 %rx, %ha, %hb;", |[a, b, ..]| (i32::from(a as i16) * i32::from(b as i16)) as u32 as u64),
        ("mad.lo.s32 %rx, %ra, %rb, %rc;", |[a, b, c, _]| {
            (a as u32).wrapping_mul(b as u32).wrapping_add(c as u32).into()
        }),
        ("mad.lo.s64 %lx, %la, %lb, %lc;", |[a, b, c, _]| a.wrapping_mul(b).wrapping_add(c)),
        ("mad.wide.u32 %lx, %ra, %rb, %lc;", |[a, b, c, _]| ((a & 0xffff_ffff) * (b & 0xffff_ffff)).wrapping_add(c)),
        ("mad.wide.s32 %lx, %ra, %rb, %lc;", |[a, b, c, _]| {
            (i64::from(a as i32) * i64::from(b as i32)).wrapping_add(c as i64) as u64
        }),
        ("mad.hi.u32 %rx, %ra, %rb, %rc;", |[a, b, c, _]| {
            ((((a & 0xffff_ffff) * (b & 0xffff_ffff)) >> 32) as u32).wrapping_add(c as u32).into()
        }),
        ("mul24.lo.u32 %rx, %ra, %rb;", |[a, b, ..]| ((a & 0xff_ffff) * (b & 0xff_ffff)) & 0xffff_ffff),
        ("sad.u32 %rx, %ra, %rb, %rc;", |[a, b, c, _]| (a as u32).abs_diff(b as u32).wrapping_add(c as u32).into()),
        ("sad.s32 %rx, %ra, %rb, %rc;", |[a, b, c, _]| (a as i32).abs_diff(b as i32).wrapping_add(c as u32).into()),
        ("dp4a.u32.s32 %rx, %ra, %rb, %rc;", |[a, b, c, _]| {
            let pairs = (a as u32).to_le_bytes().into_iter().zip((b as u32).to_le_bytes());
            let sum: i32 = pairs.map(|(a, b)| i32::from(a) * i32::from(b as i8)).sum();
            (c as u32).wrapping_add(sum as u32).into()
        }),
    ];
    table.iter().for_each(|(instruction, reference)| check(instruction, &inputs, *reference));
}

#[test]
fn integers_divide() {
    let inputs: Vec<_> = integers().into_iter().filter(|[_, b, ..]| *b as u32 != 0 && *b as u16 != 0).collect();
    let table: &[(&str, Reference)] = &[
        ("div.u32 %rx, %ra, %rb;", |[a, b, ..]| (a as u32 / b as u32).into()),
        ("div.s32 %rx, %ra, %rb;", |[a, b, ..]| (a as i32).wrapping_div(b as i32) as u32 as u64),
        ("div.s64 %lx, %la, %lb;", |[a, b, ..]| (a as i64).wrapping_div(b as i64) as u64),
        ("div.u64 %lx, %la, %lb;", |[a, b, ..]| a / b),
        ("rem.u32 %rx, %ra, %rb;", |[a, b, ..]| (a as u32 % b as u32).into()),
        ("rem.s32 %rx, %ra, %rb;", |[a, b, ..]| (a as i32).wrapping_rem(b as i32) as u32 as u64),
        ("rem.s64 %lx, %la, %lb;", |[a, b, ..]| (a as i64).wrapping_rem(b as i64) as u64),
        ("rem.u16 %hx, %ha, %hb;", |[a, b, ..]| (a as u16 % b as u16).into()),
    ];
    table.iter().for_each(|(instruction, reference)| check(instruction, &inputs, *reference));
}

#[test]
fn bits_are_moved_and_counted() {
    let inputs = integers();
    let table: &[(&str, Reference)] = &[
        ("and.b32 %rx, %ra, %rb;", |[a, b, ..]| a & b & 0xffff_ffff),
        ("or.b64 %lx, %la, %lb;", |[a, b, ..]| a | b),
        ("xor.b16 %hx, %ha, %hb;", |[a, b, ..]| (a ^ b) & 0xffff),
        ("not.b32 %rx, %ra;", |[a, ..]| !a & 0xffff_ffff),
        ("cnot.b32 %rx, %ra;", |[a, ..]| (a as u32 == 0).into()),
        ("lop3.b32 %rx, %ra, %rb, %rc, 0x96;", |[a, b, c, _]| (a ^ b ^ c) & 0xffff_ffff),
        ("lop3.b32 %rx, %ra, %rb, %rc, 0xca;", |[a, b, c, _]| ((a & b) | (!a & c)) & 0xffff_ffff),
        ("shl.b32 %rx, %ra, %rb;", |[a, b, ..]| if b as u32 >= 32 { 0 } else { (a << (b as u32)) & 0xffff_ffff }),
        ("shl.b64 %lx, %la, %rb;", |[a, b, ..]| a.checked_shl(b as u32).unwrap_or(0)),
        ("shl.b16 %hx, %ha, 3;", |[a, ..]| a << 3 & 0xffff),
        ("shr.u32 %rx, %ra, %rb;", |[a, b, ..]| (a as u32).checked_shr(b as u32).unwrap_or(0).into()),
        ("shr.s32 %rx, %ra, %rb;", |[a, b, ..]| (a as i32 >> (b as u32).min(31)) as u32 as u64),
        ("shr.s64 %lx, %la, %rb;", |[a, b, ..]| (a as i64 >> (b as u32).min(63)) as u64),
        ("shr.u64 %lx, %la, %rb;", |[a, b, ..]| a.checked_shr(b as u32).unwrap_or(0)),
        ("shr.s16 %hx, %ha, %rb;", |[a, b, ..]| (a as i16 >> (b as u32).min(15)) as u16 as u64),
        ("shf.l.wrap.b32 %rx, %ra, %rb, %rc;", |[a, b, c, _]| {
            ((b << 32 | a & 0xffff_ffff) << (c & 31) >> 32) & 0xffff_ffff
        }),
        ("shf.r.wrap.b32 %rx, %ra, %rb, %rc;", |[a, b, c, _]| ((b << 32 | a & 0xffff_ffff) >> (c & 31)) & 0xffff_ffff),
        ("shf.r.clamp.b32 %rx, %ra, %rb, %rc;", |[a, b, c, _]| {
            ((b << 32 | a & 0xffff_ffff) >> (c as u32).min(32)) & 0xffff_ffff
        }),
        ("popc.b32 %rx, %ra;", |[a, ..]| (a as u32).count_ones().into()),
        ("popc.b64 %rx, %la;", |[a, ..]| a.count_ones().into()),
        ("clz.b32 %rx, %ra;", |[a, ..]| (a as u32).leading_zeros().into()),
        ("clz.b64 %rx, %la;", |[a, ..]| a.leading_zeros().into()),
        ("brev.b32 %rx, %ra;", |[a, ..]| (a as u32).reverse_bits().into()),
        ("brev.b64 %lx, %la;", |[a, ..]| a.reverse_bits()),
        ("bfind.u32 %rx, %ra;", |[a, ..]| (a as u32).checked_ilog2().unwrap_or(u32::MAX).into()),
        ("bfind.s32 %rx, %ra;", |[a, ..]| {
            let a = a as u32;
            (if (a as i32) < 0 { !a } else { a }).checked_ilog2().unwrap_or(u32::MAX).into()
        }),
        ("bfe.u32 %rx, %ra, %rb, %rc;", |[a, b, c, _]| {
            let (position, length) = (b & 255, c & 255);
            (0..length.min(32)).filter(|i| position + i < 32 && a >> (position + i) & 1 == 1).map(|i| 1 << i).sum()
        }),
        ("bfe.s32 %rx, %ra, %rb, %rc;", |[a, b, c, _]| {
            // as the manual spells it: the sign is the highest bit taken, or the number's where it ends first
            let (position, length) = (b & 255, c & 255);
            let sign = length > 0 && a >> (position + length - 1).min(31) & 1 == 1;
            let bit = |i: u64| if i < length && position + i < 32 { a >> (position + i) & 1 == 1 } else { sign };
            (0..32).filter(|&i| bit(i)).map(|i| 1 << i).sum()
        }),
        ("bfi.b32 %rx, %ra, %rb, %rc, %rd;", |[a, b, c, d]| {
            let (position, length) = (c & 255, d & 255);
            let taken = |i: u64| i >= position && i < position + length;
            (0..32u64)
                .filter(|&i| if taken(i) { a >> (i - position) & 1 == 1 } else { b >> i & 1 == 1 })
                .map(|i| 1 << i)
                .sum()
        }),
        ("prmt.b32 %rx, %ra, %rb, %rc;", |[a, b, c, _]| {
            let bytes = (b << 32 | a & 0xffff_ffff).to_le_bytes();
            let pick = |place: u64| {
                let choice = (c >> (4 * place) & 15) as usize;
                let byte = bytes[choice & 7];
                if choice < 8 {
                    byte
                } else if byte & 0x80 == 0 {
                    0
                } else {
                    0xff
                }
            };
            (0..4).map(|place| u64::from(pick(place)) << (8 * place)).sum()
        }),
        ("mov.b32 %rx, {%ha, %hb};", |[a, b, ..]| (b & 0xffff) << 16 | a & 0xffff),
        ("mov.b64 {_, %rx}, %la;", |[a, ..]| a >> 32),
        ("selp.b32 %rx, %rb, %rc, %pa;", |[a, b, c, _]| (if a & 1 == 1 { b } else { c }) & 0xffff_ffff),
        ("slct.u32.s32 %rx, %ra, %rb, %rc;", |[a, b, c, _]| (if c as i32 >= 0 { a } else { b }) & 0xffff_ffff),
    ];
    table.iter().for_each(|(instruction, reference)| check(instruction, &inputs, *reference));
}

#[test]
fn integers_are_compared_and_chosen() {
    let inputs = integers();
    let table: &[(&str, Reference)] = &[
        ("min.s32 %rx, %ra, %rb;", |[a, b, ..]| (a as i32).min(b as i32) as u32 as u64),
        ("min.u64 %lx, %la, %lb;", |[a, b, ..]| a.min(b)),
        ("max.s64 %lx, %la, %lb;", |[a, b, ..]| (a as i64).max(b as i64) as u64),
        ("max.u16 %hx, %ha, %hb;", |[a, b, ..]| (a as u16).max(b as u16).into()),
        ("abs.s32 %rx, %ra;", |[a, ..]| (a as i32).unsigned_abs().into()),
        ("neg.s64 %lx, %la;", |[a, ..]| a.wrapping_neg()),
        ("setp.lt.s32 %px, %ra, %rb;", |[a, b, ..]| ((a as i32) < b as i32).into()),
        ("setp.lt.u32 %px, %ra, %rb;", |[a, b, ..]| ((a as u32) < b as u32).into()),
        ("setp.lo.u32 %px, %ra, %rb;", |[a, b, ..]| ((a as u32) < b as u32).into()),
        ("setp.ge.s64 %px, %la, %lb;", |[a, b, ..]| (a as i64 >= b as i64).into()),
        ("setp.eq.s16 %px, %ha, %hb;", |[a, b, ..]| (a as u16 == b as u16).into()),
        ("setp.ne.b64 %px, %la, %lb;", |[a, b, ..]| (a != b).into()),
        ("setp.gt.u64 %px, %la, 4294967295;", |[a, ..]| (a > 0xffff_ffff).into()),
        ("setp.lt.and.s32 %px, %ra, %rb, %pa;", |[a, b, ..]| ((a as i32) < b as i32 && a & 1 == 1).into()),
        ("setp.lt.or.s32 %px, %ra, %rb, !%pa;", |[a, b, ..]| ((a as i32) < b as i32 || a & 1 == 0).into()),
        ("setp.lt.s32 %py|%px, %ra, %rb;", |[a, b, ..]| (a as i32 >= b as i32).into()),
        ("setp.lt.s32 %py, %ra, %rb; and.pred %px, %py, %pa;", |[a, b, ..]| {
            ((a as i32) < b as i32 && a & 1 == 1).into()
        }),
        ("not.pred %px, %pa;", |[a, ..]| (a & 1 == 0).into()),
        ("mov.pred %px, %pa; @%pa mov.pred %px, 0;", |_| 0),
        ("mov.u32 %rx, 5; @!%pa add.u32 %rx, %rx, 1;", |[a, ..]| 5 + u64::from(a & 1 == 0)),
    ];
    table.iter().for_each(|(instruction, reference)| check(instruction, &inputs, *reference));
}

#[test]
fn carries_go_from_one_instruction_to_the_next() {
    let inputs = integers();
    let table: &[(&str, Reference)] = &[
        ("add.cc.u64 %ly, %la, %lc; addc.u64 %lx, %lb, %ld;", |[a, b, c, d]| {
            let sum = (u128::from(b) << 64 | u128::from(a)).wrapping_add(u128::from(d) << 64 | u128::from(c));
            (sum >> 64) as u64
        }),
        ("sub.cc.u32 %ry, %ra, %rc; subc.cc.u32 %ry, %rb, %rd; subc.u32 %rx, 0, 0;", |[a, b, c, d]| {
            let low = |high: u64, low: u64| high << 32 | low & 0xffff_ffff;
            if low(b, a) < low(d, c) { 0xffff_ffff } else { 0 }
        }),
        ("mad.lo.cc.u32 %ry, %ra, %rb, %rc; madc.hi.u32 %rx, %ra, %rb, %rd;", |[a, b, c, d]| {
            let sum = ((a & 0xffff_ffff) * (b & 0xffff_ffff)).wrapping_add(d << 32 | c & 0xffff_ffff);
            sum >> 32
        }),
        ("mad.lo.cc.u64 %ly, %la, %lb, %lc; madc.hi.u64 %lx, %la, %lb, %ld;", |[a, b, c, d]| {
            let sum = (u128::from(a) * u128::from(b)).wrapping_add(u128::from(d) << 64 | u128::from(c));
            (sum >> 64) as u64
        }),
    ];
    table.iter().for_each(|(instruction, reference)| check(instruction, &inputs, *reference));
}

#[test]
fn singles_are_rounded_to_nearest() {
    let inputs = singles();
    let table: &[(&str, Reference)] = &[
        ("add.f32 %fx, %fa, %fb;", |[a, b, ..]| fbits(f(a) + f(b))),
        ("add.rn.f32 %fx, %fa, 0f3F800000;", |[a, ..]| fbits(f(a) + 1.0)),
        ("sub.f32 %fx, %fa, %fb;", |[a, b, ..]| fbits(f(a) - f(b))),
        ("mul.rn.f32 %fx, %fa, %fb;", |[a, b, ..]| fbits(f(a) * f(b))),
        ("fma.rn.f32 %fx, %fa, %fb, %fc;", |[a, b, c, _]| fbits(f(a).mul_add(f(b), f(c)))),
        ("mad.rn.f32 %fx, %fa, %fb, %fc;", |[a, b, c, _]| fbits(f(a).mul_add(f(b), f(c)))),
        ("div.rn.f32 %fx, %fa, %fb;", |[a, b, ..]| fbits(f(a) / f(b))),
        ("rcp.rn.f32 %fx, %fa;", |[a, ..]| fbits(1.0 / f(a))),
        ("sqrt.rn.f32 %fx, %fa;", |[a, ..]| fbits(f(a).sqrt())),
        ("neg.f32 %fx, %fa;", |[a, ..]| a & 0xffff_ffff ^ 0x8000_0000),
        ("abs.f32 %fx, %fa;", |[a, ..]| a & 0x7fff_ffff),
        ("copysign.f32 %fx, %fa, %fb;", |[a, b, ..]| b & 0x7fff_ffff | a & 0x8000_0000),
        ("add.ftz.f32 %fx, %fa, %fb;", |[a, b, ..]| fbits(flush(flush(f(a)) + flush(f(b))))),
        ("mul.ftz.f32 %fx, %fa, %fb;", |[a, b, ..]| fbits(flush(flush(f(a)) * flush(f(b))))),
        ("add.sat.f32 %fx, %fa, %fb;", |[a, b, ..]| {
            let sum = f(a) + f(b);
            fbits(if sum.is_nan() { 0.0 } else { sum.clamp(0.0, 1.0) + 0.0 })
        }),
        ("ex2.approx.f32 %fx, %fa;", |[a, ..]| fbits(f64::from(f(a)).exp2() as f32)),
        ("ex2.approx.ftz.f32 %fx, %fa;", |[a, ..]| fbits(flush(f64::from(flush(f(a))).exp2() as f32))),
        ("lg2.approx.f32 %fx, %fa;", |[a, ..]| fbits(f64::from(f(a)).log2() as f32)),
        ("rcp.approx.ftz.f32 %fx, %fa;", |[a, ..]| fbits(flush(1.0 / flush(f(a))))),
        ("rsqrt.approx.f32 %fx, %fa;", |[a, ..]| fbits((1.0 / f64::from(f(a)).sqrt()) as f32)),
        ("sqrt.approx.f32 %fx, %fa;", |[a, ..]| fbits(f(a).sqrt())),
        ("div.full.f32 %fx, %fa, %fb;", |[a, b, ..]| fbits(f(a) / f(b))),
        ("tanh.approx.f32 %fx, %fa;", |[a, ..]| fbits(f64::from(f(a)).tanh() as f32)),
    ];
    table.iter().for_each(|(instruction, reference)| check(instruction, &inputs, *reference));
}

/// Of the two neighbours of the exact result, the one on the asked side: found by exact comparison in wide integers.
#[test]
fn singles_are_rounded_in_every_direction() {
    let inputs = singles();
    for (operation, exact) in [("add", 0), ("mul", 1), ("fma", 2)] {
        for (rounding, up, toward_zero) in [("rm", false, false), ("rp", true, false), ("rz", false, true)] {
            let operands = if operation == "fma" { "%fa, %fb, %fc" } else { "%fa, %fb" };
            let instruction = format!("{operation}.{rounding}.f32 %fx, {operands};");
            for (input, found) in inputs.iter().zip(evaluate(&instruction, &inputs)) {
                let [a, b, c] = [input[0], input[1], input[2]].map(f);
                if ![a, b, c].iter().all(|value| value.is_finite()) {
                    continue;
                }
                let (found, nearest) = (f(found), [a + b, a * b, a.mul_add(b, c)][exact]);
                let sign = |value: f32| {
                    match exact {
                        0 => scaled(a) + scaled(b) - scaled(value),
                        1 => scaled(a) * scaled(b) - (scaled(value) << 149),
                        _ => scaled(a) * scaled(b) + (scaled(c) << 149) - (scaled(value) << 149),
                    }
                    .sign()
                };
                let up = if toward_zero { nearest < 0.0 || (nearest == 0.0 && nearest.is_sign_negative()) } else { up };
                if nearest.is_infinite() {
                    continue;
                }
                // the exact result lies at or beyond the found one, and not beyond its neighbour
                let (error, beyond) =
                    if up { (-sign(found), -sign(found.next_down())) } else { (sign(found), sign(found.next_up())) };
                assert!(error >= 0 && (error == 0 || beyond < 0), "{instruction} of {a:e} {b:e} {c:e}: {found:e}");
            }
        }
    }
}

/// A float as a multiple of 2^-149.
fn scaled(value: f32) -> Wide {
    let bits = value.to_bits();
    let exponent = (bits >> 23 & 255).max(1) - 1;
    let fraction = bits & 0x7f_ffff | if bits >> 23 & 255 > 0 { 0x80_0000 } else { 0 };
    let magnitude = Wide::from(fraction) << exponent;
    if value.is_sign_negative() { Wide::default() - magnitude } else { magnitude }
}

/// Integers of 768 bits in two's complement: enough for products of two floats and their sums.
#[derive(Clone, Copy, Default)]
struct Wide([u32; Wide::WORDS]);

impl Wide {
    const WORDS: usize = 24;

    fn sign(self) -> i32 {
        match self.0.iter().any(|word| *word != 0) {
            false => 0,
            true if self.0[Wide::WORDS - 1] >> 31 == 1 => -1,
            true => 1,
        }
    }
}

impl From<u32> for Wide {
    fn from(value: u32) -> Wide {
        let mut wide = Wide::default();
        wide.0[0] = value;
        wide
    }
}

impl std::ops::Add for Wide {
    type Output = Wide;
    fn add(self, other: Wide) -> Wide {
        let mut carry = 0;
        Wide(std::array::from_fn(|place| {
            let sum = u64::from(self.0[place]) + u64::from(other.0[place]) + carry;
            carry = sum >> 32;
            sum as u32
        }))
    }
}

impl std::ops::Sub for Wide {
    type Output = Wide;
    fn sub(self, other: Wide) -> Wide {
        self + Wide(other.0.map(|word| !word)) + Wide::from(1)
    }
}

impl std::ops::Mul for Wide {
    type Output = Wide;
    fn mul(self, other: Wide) -> Wide {
        let mut product = [0u32; Wide::WORDS];
        for (shift, a) in self.0.into_iter().enumerate().filter(|(_, a)| *a != 0) {
            let mut carry = 0;
            for (word, b) in product[shift..].iter_mut().zip(other.0) {
                let sum = u64::from(a) * u64::from(b) + u64::from(*word) + carry;
                *word = sum as u32;
                carry = sum >> 32;
            }
        }
        Wide(product)
    }
}

impl std::ops::Shl<u32> for Wide {
    type Output = Wide;
    fn shl(self, by: u32) -> Wide {
        let (words, bits) = (by as usize / 32, by % 32);
        Wide(std::array::from_fn(|place| {
            let at = |place: Option<usize>| place.map_or(0, |place| u64::from(self.0[place]));
            let pair = at(place.checked_sub(words)) << 32 | at(place.checked_sub(words + 1));
            (pair << bits >> 32) as u32
        }))
    }
}

#[test]
fn singles_are_compared_and_chosen() {
    let inputs = singles();
    let table: &[(&str, Reference)] = &[
        ("min.f32 %fx, %fa, %fb;", |[a, b, ..]| chosen(f(a), f(b), true, false)),
        ("max.f32 %fx, %fa, %fb;", |[a, b, ..]| chosen(f(a), f(b), false, false)),
        ("max.NaN.f32 %fx, %fa, %fb;", |[a, b, ..]| chosen(f(a), f(b), false, true)),
        ("setp.lt.f32 %px, %fa, %fb;", |[a, b, ..]| (f(a) < f(b)).into()),
        ("setp.eq.f32 %px, %fa, %fb;", |[a, b, ..]| (f(a) == f(b)).into()),
        ("setp.ne.f32 %px, %fa, %fb;", |[a, b, ..]| (f(a) < f(b) || f(a) > f(b)).into()),
        ("setp.neu.f32 %px, %fa, %fb;", |[a, b, ..]| (f(a) != f(b)).into()),
        ("setp.gtu.f32 %px, %fa, %fb;", |[a, b, ..]| (f(a) > f(b) || f(a).is_nan() || f(b).is_nan()).into()),
        ("setp.leu.f32 %px, %fa, %fb;", |[a, b, ..]| (f(a) <= f(b) || f(a).is_nan() || f(b).is_nan()).into()),
        ("setp.ge.f32 %px, %fa, %fb;", |[a, b, ..]| (f(a) >= f(b)).into()),
        ("setp.nan.f32 %px, %fa, %fb;", |[a, b, ..]| (f(a).is_nan() || f(b).is_nan()).into()),
        ("setp.num.f32 %px, %fa, %fb;", |[a, b, ..]| (!f(a).is_nan() && !f(b).is_nan()).into()),
        ("testp.finite.f32 %px, %fa;", |[a, ..]| f(a).is_finite().into()),
        ("testp.infinite.f32 %px, %fa;", |[a, ..]| f(a).is_infinite().into()),
        ("testp.subnormal.f32 %px, %fa;", |[a, ..]| f(a).is_subnormal().into()),
    ];
    table.iter().for_each(|(instruction, reference)| check(instruction, &inputs, *reference));
}

/// min and max of PTX: -0 is below 0, and a NaN loses unless it is asked for.
fn chosen(a: f32, b: f32, smallest: bool, keep_nan: bool) -> u64 {
    if (a.is_nan() || b.is_nan()) && keep_nan || a.is_nan() && b.is_nan() {
        return 0x7fff_ffff;
    }
    if a.is_nan() || b.is_nan() {
        return fbits(if a.is_nan() { b } else { a });
    }
    let order = a.total_cmp(&b);
    fbits(if order.is_le() == smallest { a } else { b })
}

#[test]
fn doubles_are_rounded_to_nearest() {
    type OfDoubles = fn([f64; 3]) -> f64;
    let table: &[(&str, OfDoubles)] = &[
        ("add.f64 %dx, %da, %db;", |[a, b, _]| a + b),
        ("sub.rn.f64 %dx, %da, %db;", |[a, b, _]| a - b),
        ("mul.f64 %dx, %da, %db;", |[a, b, _]| a * b),
        ("fma.rn.f64 %dx, %da, %db, %dc;", |[a, b, c]| a.mul_add(b, c)),
        ("div.rn.f64 %dx, %da, %db;", |[a, b, _]| a / b),
        ("rcp.rn.f64 %dx, %da;", |[a, ..]| 1.0 / a),
        ("sqrt.rn.f64 %dx, %da;", |[a, ..]| a.sqrt()),
        ("neg.f64 %dx, %da;", |[a, ..]| -a),
        ("abs.f64 %dx, %da;", |[a, ..]| a.abs()),
        ("copysign.f64 %dx, %da, %db;", |[a, b, _]| b.copysign(a)),
        ("mul.f64 %dx, %da, 0d4000000000000000;", |[a, ..]| a * 2.0),
        ("selp.f64 %dx, %da, %db, %pa;", |[a, b, _]| if a.to_bits() & 1 == 1 { a } else { b }),
    ];
    table.iter().for_each(|(instruction, reference)| check_doubles(instruction, *reference));
}

#[test]
fn integers_become_floats() {
    let inputs = integers();
    let table: &[(&str, Reference)] = &[
        ("cvt.rn.f32.s32 %fx, %ra;", |[a, ..]| fbits(a as i32 as f32)),
        ("cvt.rn.f32.u32 %fx, %ra;", |[a, ..]| fbits(a as u32 as f32)),
        ("cvt.rn.f32.s64 %fx, %la;", |[a, ..]| fbits(a as i64 as f32)),
        ("cvt.rn.f32.u64 %fx, %la;", |[a, ..]| fbits(a as f32)),
        ("cvt.rn.f64.s32 %dx, %ra;", |[a, ..]| f64::from(a as i32).to_bits()),
        ("cvt.rn.f64.u64 %dx, %la;", |[a, ..]| (a as f64).to_bits()),
        ("cvt.rn.f64.s64 %dx, %la;", |[a, ..]| (a as i64 as f64).to_bits()),
        ("cvt.rn.f64.s16 %dx, %ha;", |[a, ..]| f64::from(a as i16).to_bits()),
        ("cvt.rz.f32.u32 %fx, %ra;", |[a, ..]| {
            let nearest = a as u32 as f32;
            fbits(if f64::from(nearest) > f64::from(a as u32) { nearest.next_down() } else { nearest })
        }),
        ("cvt.rp.f32.s32 %fx, %ra;", |[a, ..]| {
            let nearest = a as i32 as f32;
            fbits(if f64::from(nearest) < f64::from(a as i32) { nearest.next_up() } else { nearest })
        }),
    ];
    table.iter().for_each(|(instruction, reference)| check(instruction, &inputs, *reference));
}

#[test]
fn integers_become_wider_and_narrower() {
    let inputs = integers();
    let table: &[(&str, Reference)] = &[
        ("cvt.u64.u32 %lx, %ra;", |[a, ..]| a & 0xffff_ffff),
        ("cvt.s64.s32 %lx, %ra;", |[a, ..]| i64::from(a as i32) as u64),
        ("cvt.u16.u32 %hx, %ra;", |[a, ..]| a & 0xffff),
        ("cvt.s16.s8 %hx, %ha;", |[a, ..]| i16::from(a as i8) as u16 as u64),
        ("cvt.s32.s8 %rx, %ra;", |[a, ..]| i32::from(a as i8) as u32 as u64),
        ("cvt.s8.s32 %rx, %ra;", |[a, ..]| i32::from(a as i8) as u32 as u64),
        ("cvt.u8.u32 %rx, %ra;", |[a, ..]| a & 0xff),
        ("cvt.sat.u8.s32 %rx, %ra;", |[a, ..]| (a as i32).clamp(0, 255) as u64),
        ("cvt.sat.s32.s64 %rx, %la;", |[a, ..]| (a as i64).clamp(i32::MIN.into(), i32::MAX.into()) as u32 as u64),
        ("cvt.sat.u32.s32 %rx, %ra;", |[a, ..]| (a as i32).max(0) as u64),
    ];
    table.iter().for_each(|(instruction, reference)| check(instruction, &inputs, *reference));
}

#[test]
fn floats_become_integers() {
    let table: &[(&str, Reference)] = &[
        ("cvt.rzi.s32.f32 %rx, %fa;", |[a, ..]| f(a) as i32 as u32 as u64),
        ("cvt.rni.s32.f32 %rx, %fa;", |[a, ..]| f(a).round_ties_even() as i32 as u32 as u64),
        ("cvt.rmi.s32.f32 %rx, %fa;", |[a, ..]| f(a).floor() as i32 as u32 as u64),
        ("cvt.rpi.u32.f32 %rx, %fa;", |[a, ..]| (f(a).ceil() as u32).into()),
        ("cvt.rzi.s64.f32 %lx, %fa;", |[a, ..]| if f(a).is_nan() { 1 << 63 } else { f(a) as i64 as u64 }),
        ("cvt.rni.f32.f32 %fx, %fa;", |[a, ..]| fbits(f(a).round_ties_even())),
        ("cvt.rzi.f32.f32 %fx, %fa;", |[a, ..]| fbits(f(a).trunc())),
        ("cvt.rmi.f32.f32 %fx, %fa;", |[a, ..]| fbits(f(a).floor())),
        ("cvt.rpi.f32.f32 %fx, %fa;", |[a, ..]| fbits(f(a).ceil())),
        ("cvt.sat.f32.f32 %fx, %fa;", |[a, ..]| fbits(if f(a) > 0.0 { f(a).min(1.0) } else { 0.0 })),
    ];
    table.iter().for_each(|(instruction, reference)| check(instruction, &singles(), *reference));
    let table: &[(&str, Reference)] = &[
        ("cvt.rzi.s32.f64 %rx, %da;", |[a, ..]| if d(a).is_nan() { 0x8000_0000 } else { d(a) as i32 as u32 as u64 }),
        ("cvt.rzi.u64.f64 %lx, %da;", |[a, ..]| if d(a).is_nan() { 1 << 63 } else { d(a) as u64 }),
        (
            "cvt.rni.s64.f64 %lx, %da;",
            |[a, ..]| {
                if d(a).is_nan() { 1 << 63 } else { d(a).round_ties_even() as i64 as u64 }
            },
        ),
    ];
    table.iter().for_each(|(instruction, reference)| check(instruction, &doubles(), *reference));
}

#[test]
fn floats_become_wider_and_narrower() {
    let table: &[(&str, Reference)] = &[
        ("cvt.f64.f32 %dx, %fa;", |[a, ..]| if f(a).is_nan() { d_nan(a) } else { f64::from(f(a)).to_bits() }),
        ("cvt.rn.f16.f32 %hx, %fa;", |[a, ..]| half_bits(f16::from_f32(f(a)).to_bits(), f(a))),
        ("cvt.rn.bf16.f32 %hx, %fa;", |[a, ..]| half_bits(bf16::from_f32(f(a)).to_bits(), f(a))),
        ("cvt.rn.f16x2.f32 %rx, %fa, %fb;", |[a, b, ..]| {
            half_bits(f16::from_f32(f(a)).to_bits(), f(a)) << 16 | half_bits(f16::from_f32(f(b)).to_bits(), f(b))
        }),
        ("cvt.rn.bf16x2.f32 %rx, %fa, %fb;", |[a, b, ..]| {
            half_bits(bf16::from_f32(f(a)).to_bits(), f(a)) << 16 | half_bits(bf16::from_f32(f(b)).to_bits(), f(b))
        }),
    ];
    table.iter().for_each(|(instruction, reference)| check(instruction, &singles(), *reference));
    check("cvt.rn.f32.f64 %fx, %da;", &doubles(), |[a, ..]| fbits(d(a) as f32));
    check("cvt.rz.f32.f64 %fx, %da;", &doubles(), |[a, ..]| {
        let nearest = d(a) as f32;
        let away = f64::from(nearest).abs() > d(a).abs();
        fbits(if !away {
            nearest
        } else if nearest > 0.0 {
            nearest.next_down()
        } else {
            nearest.next_up()
        })
    });
    let every_half: Vec<[u64; 4]> = (0..=0xffff).map(|bits| [bits, 0, 0, 0]).collect();
    check("cvt.f32.f16 %fx, %ha;", &every_half, |[a, ..]| fbits(f16::from_bits(a as u16).to_f32()));
}

fn d_nan(bits: u64) -> u64 {
    f64::from(f(bits)).to_bits()
}

fn half_bits(bits: u16, from: f32) -> u64 {
    if from.is_nan() { 0x7fff } else { bits.into() }
}

#[test]
fn pairs_of_halves() {
    let mut random = Random(3);
    let inputs: Vec<[u64; 4]> = (0..4000).map(|_| std::array::from_fn(|_| random.bits() & 0xffff_ffff)).collect();
    type Halves = fn(f16, f16, f16) -> f64;
    let table: &[(&str, Halves)] = &[
        ("add.f16x2 %rx, %ra, %rb;", |a, b, _| a.to_f64() + b.to_f64()),
        ("sub.rn.f16x2 %rx, %ra, %rb;", |a, b, _| a.to_f64() - b.to_f64()),
        ("mul.f16x2 %rx, %ra, %rb;", |a, b, _| a.to_f64() * b.to_f64()),
    ];
    for (instruction, reference) in table {
        for (input, found) in inputs.iter().zip(evaluate(instruction, &inputs)) {
            for place in [0, 16] {
                let [a, b, c] = [input[0], input[1], input[2]].map(|bits| f16::from_bits((bits >> place) as u16));
                let exact = reference(a, b, c);
                let expected = if exact.is_nan() { 0x7fff } else { f16::from_f64(exact).to_bits() };
                assert_eq!((found >> place) as u16, expected, "{instruction} of {a} {b}");
            }
        }
    }
}
