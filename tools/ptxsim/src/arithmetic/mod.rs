//! What instructions compute, apart from who computes it when: closures over a warp's lanes.

pub(crate) mod approximate;
pub(crate) mod carry;
pub(crate) mod compare;
pub(crate) mod convert;
pub(crate) mod float;
pub(crate) mod half_precision;
pub(crate) mod integer;
pub(crate) mod rounding;
