//! What there is to launch: a call of an operator on a device, and the launches that `plan` makes of it.

use std::ffi::c_void;

use smallvec::SmallVec;

use super::element::ElementType;
use super::problem::Problem;
use crate::loss::Reduction;
use crate::runtime::ops::Operator;

/// No grid of a kernel that sees rows is larger: what its blocks leave in [`Scratch`] has a bounded size.
pub(crate) const MOST_BLOCKS: u32 = 2048;

/// One call of an operator, everything known but how to compute it.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) operator: Operator,
    /// T
    pub(crate) element: ElementType,
    pub(crate) reduction: Reduction,
    /// Complete but for `partials`, `weight_sum` and `lanes`, which the plan sets per launch. There is at least one row.
    ///
    /// `losses` is set with reduction none only, `dlogits` where the operator has that output, `dloss` and
    /// `saved_margins` for `EncouragingLossGrad`. `share` is 1/rows with reduction mean: right where every row counts
    /// and weighs 1.
    pub(crate) problem: Problem,
    /// Where the one loss of reduction mean and sum goes, T; 0 where there is none.
    pub(crate) loss: u64,
    pub(crate) limits: DeviceLimits,
    pub(crate) scratch: Scratch,
}

/// What a device can do, as its driver says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DeviceLimits {
    /// major and minor
    pub(crate) compute_capability: (u32, u32),
    pub(crate) multiprocessors: u32,
    /// the most shared memory of a block, in bytes, of kernels that ask for more than 48 KB
    pub(crate) shared_per_block: u32,
    /// shared memory of a multiprocessor, in bytes
    pub(crate) shared_per_multiprocessor: u32,
    /// L2 cache, in bytes
    pub(crate) l2: u32,
}

/// Device memory of a stream, for what one launch of a call leaves to the next. The addresses are multiples of 16.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Scratch {
    /// a pair of doubles for each of [`MOST_BLOCKS`] blocks: [`Problem::partials`]
    pub(crate) partials: u64,
    /// a double for each of [`MOST_BLOCKS`] blocks, of `sum_of_weights`
    pub(crate) weights: u64,
    /// one double: [`Problem::weight_sum`]
    pub(crate) weight_sum: u64,
}

impl Scratch {
    const PARTIALS: u64 = 0;
    const WEIGHTS: u64 = Self::PARTIALS + 2 * MOST_BLOCKS as u64 * 8;
    const WEIGHT_SUM: u64 = Self::WEIGHTS + MOST_BLOCKS as u64 * 8;

    /// In bytes, a multiple of 256 like the addresses of `cuMemAlloc`.
    pub(crate) const SIZE: u64 = (Self::WEIGHT_SUM + 8).next_multiple_of(256);

    /// The scratch of [`Scratch::SIZE`] bytes from `address` on.
    pub(crate) fn at(address: u64) -> Scratch {
        Scratch {
            partials: address + Self::PARTIALS,
            weights: address + Self::WEIGHTS,
            weight_sum: address + Self::WEIGHT_SUM,
        }
    }
}

/// The launches of a call, in their order on its stream.
#[derive(Clone, Debug, Default)]
pub(crate) struct Plan {
    pub(crate) launches: SmallVec<[Launch; 4]>,
}

/// One kernel, and how often.
#[derive(Clone, Debug)]
pub(crate) struct Launch {
    /// Its name in the module of the call's element type.
    pub(crate) kernel: &'static str,
    /// Blocks; the grid has one dimension.
    pub(crate) grid: u32,
    /// Threads per block; the block has one dimension.
    pub(crate) block: u32,
    /// Dynamic shared memory per block, in bytes.
    pub(crate) shared: u32,
    pub(crate) arguments: Arguments,
}

/// What a kernel is called with; one variant for each list of parameters that kernels have.
#[derive(Clone, Debug)]
pub(crate) enum Arguments {
    /// `…_forward(Problem)`, `…_gradient(Problem)`
    Rows(Problem),
    /// `sum_of_weights(Problem, double *partials, double *total)`
    SumOfWeights { problem: Problem, partials: u64, total: u64 },
    /// `add_up(const double *partials, i32 count, double *total)`
    AddUp { partials: u64, count: i32, total: u64 },
    /// `reduce(const double *partials, i32 count, void *loss, i32 mean)`
    Reduce { partials: u64, count: i32, loss: u64, mean: i32 },
}

/// Addresses of a kernel's arguments, as `cuLaunchKernel` takes them.
pub(crate) type ArgumentPointers = SmallVec<[*mut c_void; 4]>;

impl Arguments {
    /// Valid as long as `self` stays where it is. Only to be read from.
    pub(crate) fn pointers(&self) -> ArgumentPointers {
        self.each(|argument| argument.at)
    }

    /// The sizes that the kernel's parameters must have.
    #[cfg(test)]
    pub(crate) fn sizes(&self) -> SmallVec<[usize; 4]> {
        self.each(|argument| argument.size)
    }

    /// The arguments in the order of the parameters.
    fn each<R>(&self, take: impl Fn(Argument) -> R) -> SmallVec<[R; 4]>
    where
        [R; 4]: smallvec::Array<Item = R>,
    {
        let arguments: SmallVec<[Argument; 4]> = match self {
            Arguments::Rows(problem) => SmallVec::from_iter([Argument::of(problem)]),
            Arguments::SumOfWeights { problem, partials, total } => {
                SmallVec::from_iter([Argument::of(problem), Argument::of(partials), Argument::of(total)])
            }
            Arguments::AddUp { partials, count, total } => {
                SmallVec::from_iter([Argument::of(partials), Argument::of(count), Argument::of(total)])
            }
            Arguments::Reduce { partials, count, loss, mean } => {
                let (partials, count) = (Argument::of(partials), Argument::of(count));
                SmallVec::from_iter([partials, count, Argument::of(loss), Argument::of(mean)])
            }
        };
        arguments.into_iter().map(take).collect()
    }
}

/// One argument, of a type that lies in memory as C has it.
struct Argument {
    at: *mut c_void,
    #[cfg_attr(not(test), expect(dead_code, reason = "the driver knows the sizes from the PTX; tests compare them"))]
    size: usize,
}

impl Argument {
    fn of<T>(value: &T) -> Argument {
        Argument { at: std::ptr::from_ref(value).cast_mut().cast(), size: size_of::<T>() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scratch_is_laid_out_without_overlap_and_aligned() {
        let scratch = Scratch::at(4096);
        assert_eq!(scratch.weights - scratch.partials, 2 * 8 * u64::from(MOST_BLOCKS));
        assert_eq!(scratch.weight_sum - scratch.weights, 8 * u64::from(MOST_BLOCKS));
        assert!(scratch.weight_sum + 8 <= scratch.partials + Scratch::SIZE);
        for address in [scratch.partials, scratch.weights, scratch.weight_sum, Scratch::SIZE] {
            assert_eq!(address % 16, 0);
        }
    }

    #[test]
    fn arguments_come_in_the_order_of_the_parameters() {
        let arguments = Arguments::Reduce { partials: 1, count: 2, loss: 3, mean: 4 };
        assert_eq!(*arguments.sizes(), [8, 4, 8, 4]);
        let at = arguments.pointers();
        // SAFETY: the pointers are to the fields of `arguments`, of these types.
        let read = unsafe { (*at[0].cast::<u64>(), *at[1].cast::<i32>(), *at[2].cast::<u64>(), *at[3].cast::<i32>()) };
        assert_eq!(read, (1, 2, 3, 4));
        let problem = Problem { rows: 7, ..Problem::default() };
        assert_eq!(*Arguments::Rows(problem).sizes(), [200]);
        assert_eq!(*Arguments::SumOfWeights { problem, partials: 1, total: 2 }.sizes(), [200, 8, 8]);
        assert_eq!(*Arguments::AddUp { partials: 1, count: 2, total: 3 }.sizes(), [8, 4, 8]);
    }
}
