//! Dense tensors of the evaluator and walks over their elements.

use crate::model::proto::TensorProto;
use crate::model::{DataType, TensorValue};

use super::Fault;

/// Most elements a tensor may have.
pub(crate) const MAX_ELEMENTS: usize = 2_000_000;
/// Most dimensions a tensor may have.
pub(crate) const MAX_RANK: usize = 32;

/// A dense tensor in row-major order; `data` has as many elements as `dims` says.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Tensor {
    /// Dimensions; empty for a scalar.
    pub dims: Vec<usize>,
    /// Elements.
    pub data: Data,
}

/// Elements. Every ONNX float type is held as f64, every integer type as i64.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Data {
    /// float16, bfloat16, float, double
    Float(Vec<f64>),
    /// all integers
    Int(Vec<i64>),
    /// bool
    Bool(Vec<bool>),
}

/// The three kinds of elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// [`Data::Float`]
    Float,
    /// [`Data::Int`]
    Int,
    /// [`Data::Bool`]
    Bool,
}

impl Kind {
    /// The kind that holds a `TensorProto.DataType`; None for strings, complex numbers and types below 16 bits of float.
    pub(crate) fn of(data_type: i32) -> Option<Self> {
        Some(match DataType::try_from(data_type).ok()? {
            DataType::Float | DataType::Double | DataType::Float16 | DataType::Bfloat16 => Self::Float,
            DataType::Uint8
            | DataType::Int8
            | DataType::Uint16
            | DataType::Int16
            | DataType::Int32
            | DataType::Int64
            | DataType::Uint32
            | DataType::Uint64 => Self::Int,
            DataType::Bool => Self::Bool,
            DataType::Undefined | DataType::String => return None,
        })
    }

    /// Its word in messages.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Float => "float",
            Self::Int => "integer",
            Self::Bool => "bool",
        }
    }
}

impl Data {
    /// Number of elements.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Float(v) => v.len(),
            Self::Int(v) => v.len(),
            Self::Bool(v) => v.len(),
        }
    }

    /// Kind of the elements.
    pub(crate) fn kind(&self) -> Kind {
        match self {
            Self::Float(_) => Kind::Float,
            Self::Int(_) => Kind::Int,
            Self::Bool(_) => Kind::Bool,
        }
    }

    /// The elements at `indices`.
    pub(crate) fn take(&self, indices: &[usize]) -> Self {
        fn pick<T: Copy>(v: &[T], indices: &[usize]) -> Vec<T> {
            indices.iter().map(|&i| v[i]).collect()
        }
        match self {
            Self::Float(v) => Self::Float(pick(v, indices)),
            Self::Int(v) => Self::Int(pick(v, indices)),
            Self::Bool(v) => Self::Bool(pick(v, indices)),
        }
    }

    /// Appends elements of the same kind.
    pub(crate) fn append(&mut self, other: &Self) -> Result<(), Fault> {
        match (self, other) {
            (Self::Float(a), Self::Float(b)) => a.extend_from_slice(b),
            (Self::Int(a), Self::Int(b)) => a.extend_from_slice(b),
            (Self::Bool(a), Self::Bool(b)) => a.extend_from_slice(b),
            (a, b) => return Err(mixed(a.kind(), b.kind())),
        }
        Ok(())
    }

    /// Converted: floats truncate to integers, anything but zero is true.
    pub(crate) fn cast(&self, kind: Kind) -> Self {
        match (self, kind) {
            (Self::Float(v), Kind::Int) => Self::Int(v.iter().map(|&x| x as i64).collect()),
            (Self::Float(v), Kind::Bool) => Self::Bool(v.iter().map(|&x| x != 0.0).collect()),
            (Self::Int(v), Kind::Float) => Self::Float(v.iter().map(|&x| x as f64).collect()),
            (Self::Int(v), Kind::Bool) => Self::Bool(v.iter().map(|&x| x != 0).collect()),
            (Self::Bool(v), Kind::Float) => Self::Float(v.iter().map(|&x| f64::from(u8::from(x))).collect()),
            (Self::Bool(v), Kind::Int) => Self::Int(v.iter().map(|&x| i64::from(x)).collect()),
            (Self::Float(_), Kind::Float) | (Self::Int(_), Kind::Int) | (Self::Bool(_), Kind::Bool) => self.clone(),
        }
    }
}

/// Two kinds where one was needed.
pub(crate) fn mixed(a: Kind, b: Kind) -> Fault {
    Fault::invalid(format!("{} and {} elements in one operation", a.word(), b.word()))
}

impl Tensor {
    /// A tensor whose size is checked.
    pub(crate) fn new(dims: Vec<usize>, data: Data) -> Result<Self, Fault> {
        let size = element_count(&dims)?;
        if size != data.len() {
            return Err(Fault::invalid(format!("{} elements do not fill the shape {dims:?}", data.len())));
        }
        Ok(Self { dims, data })
    }

    /// Floats of a shape that is known to fit.
    pub(crate) fn floats(dims: &[usize], values: Vec<f64>) -> Self {
        debug_assert_eq!(dims.iter().product::<usize>(), values.len());
        Self { dims: dims.to_vec(), data: Data::Float(values) }
    }

    /// Integers of a shape that is known to fit.
    pub(crate) fn ints(dims: &[usize], values: Vec<i64>) -> Self {
        debug_assert_eq!(dims.iter().product::<usize>(), values.len());
        Self { dims: dims.to_vec(), data: Data::Int(values) }
    }

    /// Bools of a shape that is known to fit.
    pub(crate) fn bools(dims: &[usize], values: Vec<bool>) -> Self {
        debug_assert_eq!(dims.iter().product::<usize>(), values.len());
        Self { dims: dims.to_vec(), data: Data::Bool(values) }
    }

    /// A float scalar.
    pub(crate) fn scalar(value: f64) -> Self {
        Self::floats(&[], vec![value])
    }

    /// Decodes a tensor whose data is in the message (not external, not strings).
    pub(crate) fn from_proto(tensor: &TensorProto) -> Result<Self, Fault> {
        let dims = dims_of(&tensor.dims)?;
        let size = element_count(&dims)?;
        let number = tensor.data_type.unwrap_or_default();
        let unsupported = || Fault::Unsupported(format!("tensors of data type {number}"));
        let data_type = DataType::try_from(number).map_err(|_| unsupported())?;
        let kind = Kind::of(number).ok_or_else(unsupported)?;
        if tensor.data_location == Some(1) || !tensor.external_data.is_empty() {
            return Err(Fault::Unsupported("tensors with external data".into()));
        }
        let data = match &tensor.raw_data {
            Some(raw) => decode_raw(data_type, raw).ok_or_else(unsupported)?,
            None => decode_typed(data_type, tensor).ok_or_else(unsupported)?,
        };
        if data.len() != size {
            let name = tensor.name.as_deref().unwrap_or_default();
            return Err(Fault::invalid(format!("tensor '{name}' of shape {dims:?} holds {} elements", data.len())));
        }
        debug_assert_eq!(data.kind(), kind);
        Ok(Self { dims, data })
    }

    /// A constant of a graph; None where it is no number, or too large.
    pub(crate) fn from_constant(constant: &TensorValue) -> Option<Self> {
        let data = Data::Float(constant.data.clone()).cast(Kind::of(constant.data_type)?);
        Self::new(dims_of(&constant.dims).ok()?, data).ok()
    }

    /// Number of dimensions.
    pub(crate) fn rank(&self) -> usize {
        self.dims.len()
    }

    /// Number of elements.
    pub(crate) fn len(&self) -> usize {
        self.data.len()
    }

    /// Kind of the elements.
    pub(crate) fn kind(&self) -> Kind {
        self.data.kind()
    }

    /// The floats, or a fault that says what it is instead.
    pub(crate) fn as_floats(&self) -> Result<&[f64], Fault> {
        match &self.data {
            Data::Float(v) => Ok(v),
            other => Err(Fault::invalid(format!("floats are needed where {} elements came", other.kind().word()))),
        }
    }

    /// The integers, or a fault that says what it is instead.
    pub(crate) fn as_ints(&self) -> Result<&[i64], Fault> {
        match &self.data {
            Data::Int(v) => Ok(v),
            other => Err(Fault::invalid(format!("integers are needed where {} elements came", other.kind().word()))),
        }
    }

    /// The bools, or a fault that says what it is instead.
    pub(crate) fn as_bools(&self) -> Result<&[bool], Fault> {
        match &self.data {
            Data::Bool(v) => Ok(v),
            other => Err(Fault::invalid(format!("bools are needed where {} elements came", other.kind().word()))),
        }
    }

    /// The only element as a float; None where there is not exactly one.
    pub(crate) fn single(&self) -> Option<f64> {
        match self.data.cast(Kind::Float) {
            Data::Float(v) if v.len() == 1 => v.first().copied(),
            _ => None,
        }
    }

    /// The elements at `indices`, in the shape `dims`.
    pub(crate) fn gathered(&self, dims: Vec<usize>, indices: &[usize]) -> Result<Self, Fault> {
        Self::new(dims, self.data.take(indices))
    }

    /// Repeated to `dims` by the rules of broadcasting.
    pub(crate) fn broadcast_to(&self, dims: &[usize]) -> Result<Self, Fault> {
        if self.dims == dims {
            return Ok(self.clone());
        }
        element_count(dims)?;
        let lead = dims.len().checked_sub(self.rank());
        let lead = lead.ok_or_else(|| Fault::invalid(format!("{:?} does not broadcast to {dims:?}", self.dims)))?;
        let mut steps = vec![0; dims.len()];
        for (axis, (&own, step)) in self.dims.iter().zip(strides(&self.dims)).enumerate() {
            let wanted = dims[lead + axis];
            if own == wanted {
                steps[lead + axis] = step;
            } else if own != 1 {
                return Err(Fault::invalid(format!("{:?} does not broadcast to {dims:?}", self.dims)));
            }
        }
        self.gathered(dims.to_vec(), &walk(dims, &steps, 0))
    }
}

fn decode_raw(data_type: DataType, raw: &[u8]) -> Option<Data> {
    macro_rules! read {
        ($type:ty, $variant:ident, $convert:expr) => {{
            let (chunks, rest) = raw.as_chunks::<{ size_of::<$type>() }>();
            if !rest.is_empty() {
                return None;
            }
            Data::$variant(chunks.iter().map(|&c| $convert(<$type>::from_le_bytes(c))).collect())
        }};
    }
    Some(match data_type {
        DataType::Float => read!(f32, Float, f64::from),
        DataType::Double => read!(f64, Float, f64::from),
        DataType::Float16 => read!(u16, Float, |bits| f64::from(half::f16::from_bits(bits))),
        DataType::Bfloat16 => read!(u16, Float, |bits| f64::from(half::bf16::from_bits(bits))),
        DataType::Uint8 => read!(u8, Int, i64::from),
        DataType::Int8 => read!(i8, Int, i64::from),
        DataType::Uint16 => read!(u16, Int, i64::from),
        DataType::Int16 => read!(i16, Int, i64::from),
        DataType::Int32 => read!(i32, Int, i64::from),
        DataType::Uint32 => read!(u32, Int, i64::from),
        DataType::Int64 => read!(i64, Int, i64::from),
        DataType::Uint64 => read!(u64, Int, |x| x as i64),
        DataType::Bool => Data::Bool(raw.iter().map(|&b| b != 0).collect()),
        DataType::Undefined | DataType::String => return None,
    })
}

fn decode_typed(data_type: DataType, tensor: &TensorProto) -> Option<Data> {
    let ints = &tensor.int32_data;
    let half_bits = |i: &i32| u16::try_from(*i).unwrap_or_default();
    Some(match data_type {
        DataType::Float => Data::Float(tensor.float_data.iter().map(|&x| f64::from(x)).collect()),
        DataType::Double => Data::Float(tensor.double_data.clone()),
        DataType::Float16 => Data::Float(ints.iter().map(|i| f64::from(half::f16::from_bits(half_bits(i)))).collect()),
        DataType::Bfloat16 => {
            Data::Float(ints.iter().map(|i| f64::from(half::bf16::from_bits(half_bits(i)))).collect())
        }
        DataType::Int64 => Data::Int(tensor.int64_data.clone()),
        DataType::Uint32 | DataType::Uint64 => Data::Int(tensor.uint64_data.iter().map(|&x| x as i64).collect()),
        DataType::Bool => Data::Bool(ints.iter().map(|&x| x != 0).collect()),
        DataType::Uint8 | DataType::Int8 | DataType::Uint16 | DataType::Int16 | DataType::Int32 => {
            Data::Int(ints.iter().map(|&x| i64::from(x)).collect())
        }
        DataType::Undefined | DataType::String => return None,
    })
}

/// Number of elements of a shape within the limits.
pub(crate) fn element_count(dims: &[usize]) -> Result<usize, Fault> {
    if dims.len() > MAX_RANK || dims.iter().any(|&d| d > MAX_ELEMENTS) {
        return Err(Fault::TooLarge(dims.to_vec()));
    }
    if dims.contains(&0) {
        return Ok(0);
    }
    let count = dims.iter().try_fold(1_usize, |n, &d| n.checked_mul(d));
    count.filter(|&n| n <= MAX_ELEMENTS).ok_or_else(|| Fault::TooLarge(dims.to_vec()))
}

/// Dimensions from numbers of a file.
pub(crate) fn dims_of(dims: &[i64]) -> Result<Vec<usize>, Fault> {
    let wanted = |&d: &i64| usize::try_from(d).map_err(|_| Fault::invalid(format!("the shape {dims:?} is negative")));
    dims.iter().map(wanted).collect()
}

/// The axis that `axis` names in a tensor of that rank; negative ones count from the end.
pub(crate) fn axis_of(axis: i64, rank: usize) -> Result<usize, Fault> {
    let from_start = if axis < 0 { axis + rank as i64 } else { axis };
    usize::try_from(from_start)
        .ok()
        .filter(|&a| a < rank)
        .ok_or_else(|| Fault::invalid(format!("axis {axis} does not exist in a tensor of rank {rank}")))
}

/// The axes that `axes` name, sorted, each once.
pub(crate) fn axes_of(axes: &[i64], rank: usize) -> Result<Vec<usize>, Fault> {
    if axes.len() > MAX_RANK {
        return Err(Fault::invalid(format!("{} axes", axes.len())));
    }
    let mut found = axes.iter().map(|&a| axis_of(a, rank)).collect::<Result<Vec<_>, _>>()?;
    found.sort_unstable();
    if found.windows(2).any(|pair| pair[0] == pair[1]) {
        return Err(Fault::invalid(format!("an axis is named twice in {axes:?}")));
    }
    Ok(found)
}

/// Distance between neighbours along each axis, in elements.
pub(crate) fn strides(dims: &[usize]) -> Vec<i64> {
    let mut steps = vec![1_i64; dims.len()];
    for axis in (1..dims.len()).rev() {
        steps[axis - 1] = steps[axis].wrapping_mul(dims[axis] as i64);
    }
    steps
}

/// Positions visited by counting through `dims` in row-major order, each axis moving by its step from `start`.
///
/// The caller has checked the size of `dims` and that every position lies in the tensor.
pub(crate) fn walk(dims: &[usize], steps: &[i64], start: i64) -> Vec<usize> {
    if dims.contains(&0) {
        return Vec::new();
    }
    let mut positions = Vec::with_capacity(dims.iter().product());
    let mut counter = vec![0_usize; dims.len()];
    let mut position = start;
    loop {
        positions.push(position as usize);
        let mut axis = dims.len();
        loop {
            if axis == 0 {
                return positions;
            }
            axis -= 1;
            counter[axis] += 1;
            position += steps[axis];
            if counter[axis] < dims[axis] {
                break;
            }
            position -= steps[axis] * dims[axis] as i64;
            counter[axis] = 0;
        }
    }
}

/// A tensor cut into runs of elements along some axes.
pub(crate) struct Runs {
    /// Positions, run after run.
    pub positions: Vec<usize>,
    /// Elements per run.
    pub length: usize,
    /// Number of runs: the product of the other dimensions.
    pub count: usize,
}

impl Runs {
    /// Runs along `axes` (valid and distinct), in row-major order of the other axes.
    pub(crate) fn along(dims: &[usize], axes: &[usize]) -> Self {
        let steps = strides(dims);
        let kept = (0..dims.len()).filter(|a| !axes.contains(a));
        let order: Vec<usize> = kept.clone().chain(axes.iter().copied()).collect();
        let sorted_dims: Vec<usize> = order.iter().map(|&a| dims[a]).collect();
        let sorted_steps: Vec<i64> = order.iter().map(|&a| steps[a]).collect();
        // with an empty tensor either product may be out of range of the other; saturate, nothing is visited then
        let product = |axes: &mut dyn Iterator<Item = usize>| axes.fold(1_usize, |n, a| n.saturating_mul(dims[a]));
        Self {
            positions: walk(&sorted_dims, &sorted_steps, 0),
            length: product(&mut axes.iter().copied()),
            count: product(&mut kept.clone()),
        }
    }

    /// Positions of one run.
    pub(crate) fn run(&self, index: usize) -> &[usize] {
        if self.positions.is_empty() {
            return &[];
        }
        &self.positions[index * self.length..(index + 1) * self.length]
    }
}

/// The shape that all of `shapes` broadcast to.
pub(crate) fn broadcast_dims(shapes: &[&[usize]]) -> Result<Vec<usize>, Fault> {
    let rank = shapes.iter().map(|s| s.len()).max().unwrap_or_default();
    let mut dims = vec![1_usize; rank];
    for shape in shapes {
        let lead = rank - shape.len();
        for (axis, &d) in shape.iter().enumerate() {
            let known = &mut dims[lead + axis];
            if *known == 1 {
                *known = d;
            } else if d != 1 && d != *known {
                return Err(Fault::invalid(format!("the shapes {shapes:?} do not broadcast")));
            }
        }
    }
    element_count(&dims)?;
    Ok(dims)
}
