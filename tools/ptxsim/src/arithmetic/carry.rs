//! Arithmetic on numbers wider than a register: the instructions that leave a carry to the next one.

/// What is computed before the carry is added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CarryOperation {
    Add,
    Subtract,
    MultiplyLowAdd,
    MultiplyHighAdd,
}

/// The result in `width` bits and whether there was a carry out (a borrow, in a subtraction).
pub(crate) fn compute(
    operation: CarryOperation,
    width: u32,
    signed: bool,
    [a, b, c]: [u64; 3],
    carry: bool,
) -> (u64, bool) {
    let mask = crate::types::low_bits(width);
    let (a, b, c) = (a & mask, b & mask, c & mask);
    let product = || {
        let widened = |x: u64| if signed { i128::from(crate::types::sign_extended(x, width) as i64) } else { x.into() };
        widened(a).wrapping_mul(widened(b))
    };
    let sum = |x: u64, y: u64| {
        let sum = u128::from(x) + u128::from(y) + u128::from(carry);
        (sum as u64 & mask, sum > u128::from(mask))
    };
    match operation {
        CarryOperation::Add => sum(a, b),
        CarryOperation::Subtract => {
            let taken = u128::from(b) + u128::from(carry);
            (a.wrapping_sub(taken as u64) & mask, u128::from(a) < taken)
        }
        CarryOperation::MultiplyLowAdd => sum(product() as u64 & mask, c),
        CarryOperation::MultiplyHighAdd => sum((product() >> width) as u64 & mask, c),
    }
}
